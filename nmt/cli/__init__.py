"""The command line: a Typer application with one module per section of `nmt --help`.

A function here declares the arguments and options of one command, and passes them to its module in
`nmt.commands`. That module is imported when the command runs, so that help and completion load no
heavy library.
"""
