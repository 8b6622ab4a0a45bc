"""The command line, the only place where the parts are wired together; one module per family of commands.

Exit codes: 0 done · 1 some tasks failed · 2 the user can mend it · 3 a policy is closed · 4 cannot be told · 130 interrupted.
"""
