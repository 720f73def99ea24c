"""The built-in runtime `python`: a class that a package brings, in a process of its own, with limits.

It is off until the operator grants a package (see `nnpm_worker.grants`): code of others is code of others. The process
has bounded memory, files and time, an environment without settings or secrets, and nothing but raw bytes and JSON comes
out of it. It is no sandbox: it runs as the worker's user, so it may read what that user may read, use the network, and
start other processes.

    runtime       checks the grant, starts the process
    model         runs requests through it; a new process when one has died
    restarts      how long to wait for that
    process       the process as the worker holds it: started, asked, ended
    last_words    what it printed
    frames        messages: JSON
    area          tensors: shared memory without a name
    layout        which tensor lies where in it

    __main__      the process
    confinement   what it may not do
    hosting       the class in it
"""
