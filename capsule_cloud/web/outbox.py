"""The development outbox: the mails that this server would have sent."""

import re
from datetime import UTC, datetime

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from capsule_cloud.lib.mail import outbox
from capsule_cloud.web.context import has_outbox

SHOWN = 50
_LINK = re.compile(r"https?://\S+")
_CODE = re.compile(r"^\s*([A-Z0-9]{3,4}-?[A-Z0-9]{3,4})\s*$", re.MULTILINE)


@require_safe
@never_cache
def index(request: HttpRequest) -> HttpResponse:
    """The newest mails, with the code or link in them; 404 wherever mail is really sent."""
    if not has_outbox():
        raise Http404
    mails = []
    for mail in outbox(SHOWN):
        code, link = _CODE.search(mail.body), _LINK.search(mail.body)
        mails.append(
            {
                "mail": mail,
                "sent_at": datetime.fromtimestamp(mail.sent_at, UTC),
                "code": code.group(1) if code else "",
                "link": link.group() if link else "",
            }
        )
    return render(request, "web/outbox.html", {"mails": mails})
