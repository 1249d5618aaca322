"""HTML pages that fetch nothing, rendered by jinja2 from the templates of the packages.

A page extends `base.html` and includes its style sheets and scripts. These are templates too, so
they must not contain `{{`, `{%` or `{#`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render_page(template: str, **values: Any) -> str:
    """Return a template, named by its path in the package `nmt`, with its values escaped.

    If `data` is among the values, the page contains it as JSON that no text can close.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nmt", ""),
        autoescape=True,
        keep_trailing_newline=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
        "separators": (",", ":"),
    }
    return environment
