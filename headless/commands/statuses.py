"""Exit statuses of the commands.

NOT_WHOLE: some pictures, rows or parts are missing. REFUSED: nothing was begun. CUT_SHORT: a store, or
another rank, was lost on the way. INTERRUPTED: by Ctrl-C or SIGTERM.
"""

OK, NOT_WHOLE, REFUSED, CUT_SHORT, INTERRUPTED = 0, 1, 2, 3, 130
