"""Entry point of the command line: ``relive`` and ``python -m relive``."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from relive.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    except ModuleNotFoundError as error:
        sys.stderr.write(f"relive: {error.name} is not installed: pip install relive\n")
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
