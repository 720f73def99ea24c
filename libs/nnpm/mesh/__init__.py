"""The whole mesh on one machine: what `nnpm up` starts, watches and stops, and how everybody else finds it.

data_folder    what lies where under `--data`, the folder's format version and its lock
run_folder     the short, private folder of the unix sockets
ports          which four ports a mesh listens on, and who has one that is taken
redis_server   the Redis that goes along: from the environment, from PATH or from a wheel
plan           which processes run, with which settings, in which order
guard          the little program between the supervisor and a service: no orphans
child          one running process
process_runner one process kept running
supervisor     all of them, started in order and stopped in reverse
log_output, log_reading
               their lines: to the terminal and into rotated files, and out of these again
health         is it serving?
state          mesh.json: what runs, for those who look from outside
find           settings, `--data`, profile, default folder -> addresses
trace_ring, trace_service, trace_relay, trace_tree, traces
               the last thousand traces: kept, received and served, passed on, drawn, read
up, background, down, status
               what the commands of these names do
"""
