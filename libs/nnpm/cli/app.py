"""The commands, put together, and what happens when one fails."""

import os
import sys

import typer

from nnpm.cli import about, authoring, deploying, failures, finding, inferring, installing, mesh, naming, probing
from nnpm.errors import NnpmError

# typer brings its own copy of click in newer versions; this is UsageError in either.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def build() -> typer.Typer:
    """The application; every command's module is light, and loads what it needs when it runs."""
    app = typer.Typer(
        name="nnpm",
        help="The package manager and serving mesh for neural networks.\n\n"
        "Begin with `nnpm up`, then `nnpm publish`, `nnpm deploy` and `nnpm infer`; each has --help with examples.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    families = {
        "Packages": (
            authoring.init, authoring.publish, finding.search, finding.show, finding.versions, finding.resolve,
            installing.install, naming.tag, naming.yank, naming.unyank,
        ),
        "Serving": (
            deploying.deploy, deploying.undeploy, deploying.pause, deploying.resume, deploying.ps, inferring.infer,
        ),
        "Mesh on this machine": (mesh.up, mesh.down, mesh.status, mesh.logs, probing.health),
        "About": (about.version,),
    }  # fmt: skip
    for family, commands in families.items():
        for command in commands:
            app.command(command.__name__, rich_help_panel=family)(command)
    return app


def run(arguments: list[str]) -> int:
    """Runs the command line; every way of failing becomes a line on stderr and an exit code."""
    as_json = "--json" in arguments
    try:
        answer = typer.main.get_command(build())(arguments, prog_name="nnpm", standalone_mode=False)
    except NnpmError as fault:
        return failures.report(fault, as_json=as_json)
    except (_UsageError, UnicodeEncodeError) as fault:
        if not arguments:  # the help has been shown
            return failures.USAGE
        return failures.report_usage(_usage(fault), _help_line(fault), as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        answer = failures.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`nnpm versions ... | head`); nothing more can be written there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failures.FAILED
    except OSError as fault:
        return failures.report_system(fault, as_json=as_json)
    if answer == failures.INTERRUPTED:  # typer makes this exit code of Ctrl-C, too
        sys.stderr.write("\ninterrupted; run the same again to go on\n")
    return answer if isinstance(answer, int) else 0


def _usage(fault: Exception) -> str:
    if isinstance(fault, UnicodeEncodeError):  # bytes of the command line that no message of ours can carry
        return "an argument is no UTF-8 text"
    text: str = fault.format_message() if hasattr(fault, "format_message") else str(fault)
    return text


def _help_line(fault: Exception) -> str:
    context = getattr(fault, "ctx", None)
    return f"{context.command_path} --help shows how" if context is not None else "nnpm --help lists the commands"
