"""`python -m stillmotion`, and the command `stillmotion` after an installation."""

import sys


def run() -> int:
    """Runs the command line; its exit status."""
    try:
        from .headless.command_line import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: the package {error.name} is missing. Install what Stillmotion needs: see the README."
        )
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(run())
