"""The command line: one file a verb, no logic of its own.

Importing it imports neither torch nor plugins: each verb imports what it needs when it runs.
"""
