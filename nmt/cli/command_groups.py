"""Command groups whose help lists commands by section."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class CommandGroup(TyperGroup):
    """A command group whose help lists all commands by section and truncates no summary.

    The section of a command is its `rich_help_panel`. Help is rendered without rich, which would
    triple the start-up time.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one definition list per section, in the order in which sections first occur."""
        sections: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        for name in self.list_commands(ctx):
            command = self.commands[name]
            section = getattr(command, "rich_help_panel", None) or "Commands"
            summary = (command.help or "").partition("\n")[0]
            sections.setdefault(section, []).append((f"{name:<{width}}", summary))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


class ListByDefault(CommandGroup):
    """A command group that runs its command `list` if the arguments name no command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with `list` inserted if they name no command."""
        names_command = bool(args) and args[0] in (*self.commands, *ctx.help_option_names)
        if not names_command and not ctx.resilient_parsing:  # shell completion offers the commands
            args = ["list", *args]
        return super().parse_args(ctx, args)
