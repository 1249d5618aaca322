"""The Typer application: one thin function per command. Imports nothing heavy."""
