"""Says in plain words why a request of a directory failed, and what whoever runs the directory can do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, and what helps."""

    sentence: str
    remedy: str


BY_TYPE = {
    "uniqueness": Reason(
        "Somebody or something with this name, identifier or address is here already.",
        "Let the directory look for it and link it, or remove one of the two there. What we said names which it is.",
    ),
    "invalidFilter": Reason(
        "The directory searched in a way that we do not understand.",
        "Map its matching attribute to userName, externalId or emails.",
    ),
    "invalidSyntax": Reason(
        "The request is no message of SCIM.", "Choose SCIM 2.0 there, and a JSON content type; leave templates alone."
    ),
    "invalidPath": Reason(
        "The directory changed an attribute that does not exist.",
        "Correct the attribute's name in the mapping there, or take it out.",
    ),
    "noTarget": Reason(
        "The directory changed one of several values, and none of them matched.",
        "Push the person or group anew from there.",
    ),
    "invalidValue": Reason(
        "A value is missing, or has a form that we cannot keep.",
        "What we said names the attribute: correct its mapping there. Every user needs a userName, every group a name.",
    ),
    "mutability": Reason(
        "The directory changed what only we set, such as an id.", "Take that attribute out of the mapping there."
    ),
    "tooMany": Reason("The search has more results than we return.", "Let the directory ask for fewer at once."),
    "sensitive": Reason(
        "The search was in an address, where personal data must not stand.", "Let the directory search by POST."
    ),
}
BY_STATUS = {
    400: Reason("The request is not as SCIM wants it.", "What we said names the attribute: correct its mapping there."),
    403: Reason(
        "The organization does not allow it.",
        "Often all seats of the plan are taken: remove members or change the plan, then push the person again.",
    ),
    404: Reason(
        "The directory asked for a person or group that is not here.",
        "It remembers one that was removed: restart provisioning there, or assign them anew.",
    ),
    409: Reason(
        "The organization's own rules do not allow what the directory wants.",
        "Do what our answer says, then push the person again from there.",
    ),
    412: Reason("Somebody changed it meanwhile.", "Nothing: directories read it again and repeat the change."),
    413: Reason("The request is too large.", "Let the directory send fewer members or operations at once."),
    429: Reason(
        "The directory asked more often than its limit.", "Nothing: it is told how long to wait, and goes on after."
    ),
    501: Reason("The directory asked for what we do not offer.", "Switch that feature off there."),
}
OURS = Reason("Something failed here.", "The directory tries again by itself. If it stays so, write to our support.")
OTHER = Reason("The request was refused.", "What we said names what is in the way.")


def explain(status: int, scim_type: str) -> Reason:
    """Why a request was answered so, and what helps."""
    if status >= 500 and status not in BY_STATUS:
        return OURS
    return BY_TYPE.get(scim_type) or BY_STATUS.get(status, OTHER)
