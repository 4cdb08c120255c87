"""`python -m stillmotion`."""

import sys

try:
    from .headless.command_line import main
except ModuleNotFoundError as error:
    sys.exit(f"error: the package {error.name} is missing. Install what Stillmotion needs: see the README.")
except KeyboardInterrupt:
    sys.exit(130)

sys.exit(main())
