"""HTML pages of this package: their templates, and the style that they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_STYLE = PackageLoader("ebm_policy_ros.util", "style")


def page_environment(package: str, filters: Mapping[str, Any]) -> Environment:
    """Templates of a package's folder `template`; all text in a page is escaped.

    Args:
        package: Name of the package.
        filters: Filters for the templates, by name.
    """
    environment = Environment(
        loader=PackageLoader(package, "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment


def page_style(environment: Environment) -> Markup:
    """Style of a page: what all pages share, and then the package's own `page.css`."""
    shared = _STYLE.load(environment, "house.css").render()
    return Markup(shared + environment.get_template("page.css").render())
