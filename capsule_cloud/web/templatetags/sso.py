"""What pages of single sign-on say about where other pages are: for members and for guests."""

from typing import Any

from django import template

from capsule_cloud.web.sso_visitors import address

register = template.Library()


@register.simple_tag(takes_context=True)
def at(context: template.Context, name: str, *ids: Any) -> str:
    """Where a page is for whoever looks: `{% at "domain" domain.pk %}`."""
    return address(context.get("member"), name, *ids)
