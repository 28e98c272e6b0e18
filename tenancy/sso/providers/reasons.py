"""Says in plain words why a sign-in was refused, and what whoever runs the identity provider can do about it."""

from dataclasses import dataclass


class Refused(Exception):
    """A sign-in that must not happen. `code` is one of REASONS; `detail` is for the organization's admins alone."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(REASONS[code].sentence)
        self.code, self.detail = code, detail[:500]
        self.is_told = False  # whether the organization knows


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, and what helps."""

    sentence: str
    remedy: str


_AGAIN = "Begin again from our sign-in page."
REASONS = {
    "malformed": Reason(
        "The answer is no SAML response that we can read.",
        "Check that the identity provider posts to the ACS URL, and nothing in between changes the form.",
    ),
    "forbidden_content": Reason(
        "The answer holds what has no place in one: a document type, a comment, or more than one assertion.",
        "Send one assertion in one response. If yours does, somebody has changed it on the way.",
    ),
    "weak_algorithm": Reason(
        "The answer is signed or encrypted in a way that is no longer safe.",
        "Choose RSA-SHA256 (or stronger) for signatures, SHA-256 for digests, AES for encryption.",
    ),
    "signature": Reason(
        "The signature is missing, or it is not the identity provider's.",
        "If its certificate was renewed, paste the new metadata here. Sign the assertion, the response or both.",
    ),
    "decryption": Reason(
        "The assertion could not be decrypted, or what it hides is not signed by the identity provider.",
        "Give the identity provider our current certificate: it is in our metadata. If its own was renewed, paste the "
        "new metadata here.",
    ),
    "status": Reason(
        "The identity provider itself said no.",
        "Assign the person to the application there, and look into its own log.",
    ),
    "issuer": Reason(
        "The answer names another issuer than the metadata does.",
        "Paste the metadata of the very application that people sign in by.",
    ),
    "audience": Reason(
        "The answer was made for another service.",
        "Set the audience (entity ID) there to ours, letter for letter.",
    ),
    "recipient": Reason(
        "The answer was made for another address.",
        "Set the ACS URL (recipient, destination) there to ours, letter for letter.",
    ),
    "confirmation": Reason(
        "The answer does not confirm its subject as a browser sign-in does.",
        "Use the Web Browser SSO profile with bearer confirmation and an end of validity.",
    ),
    "expired": Reason(
        "The answer is too old, or not valid yet.",
        f"{_AGAIN} If it happens again, set the clock of the identity provider.",
    ),
    "valid_too_long": Reason(
        "The answer would be valid for more than a day.",
        "Set the lifetime of assertions at the identity provider to some minutes.",
    ),
    "metadata_ended": Reason(
        "The identity provider's metadata is not valid any more: it says itself until when it is.",
        "Paste its metadata as it is now, or have us fetch it from its address.",
    ),
    "unsolicited": Reason(
        "Nobody here asked for this sign-in.",
        f"{_AGAIN} To start from the identity provider's own page, switch that on for this provider.",
    ),
    "replayed": Reason("This answer has been used already.", _AGAIN),
    "other_browser": Reason(
        "The sign-in began in another browser, or more than ten minutes ago.",
        f"{_AGAIN} Cookies must be allowed for this site.",
    ),
    "other_subject": Reason(
        "The logout names somebody else than who is signed in here.",
        "Sign out here. If it happens again, somebody sends you logouts of other people.",
    ),
    "unknown_subject": Reason(
        "The logout names somebody who has never signed in by this identity provider.",
        "Send the NameID of logouts as that of sign-ins.",
    ),
    "no_subject": Reason(
        "The answer names nobody, or somebody else at each sign-in.",
        "Send a NameID that stays the same: the e-mail address, or a persistent identifier.",
    ),
    "no_email": Reason(
        "The answer has no e-mail address where we look for one.",
        "Send it as the NameID or as an attribute, and name that attribute in the provider's settings here.",
    ),
    "foreign_domain": Reason(
        "The address is in no domain that this organization has verified.",
        "Verify the domain under Single sign-on → Domains, or give the person an address in one.",
    ),
    "staff_account": Reason(
        "This address belongs to somebody who works for us.", "They sign in with their own password and second factor."
    ),
    "inactive_person": Reason("This account is switched off.", "Ask our support."),
    "left_directory": Reason(
        "The organization's directory says that this person has left.",
        "Activate them there, under provisioning; or invite them as somebody from outside.",
    ),
    "no_seat": Reason("All seats of the plan are taken.", "Remove a member or change the plan, then sign in again."),
    "closed": Reason("The organization is closed.", "Its owner can restore it."),
    "groups_left_out": Reason(
        "The person came in, but is in more groups than the identity provider names: their roles stay as they were.",
        "In Entra ID, choose “Groups assigned to the application” as those that are sent, and assign the mapped ones.",
    ),
    "not_in_use": Reason(
        "This identity provider is not in use.", "An admin of the organization can test it and switch it on."
    ),
    # OpenID Connect
    "not_reachable": Reason(
        "The identity provider cannot be reached at the moment.",
        "Try again in a minute. If it stays so, its issuer and endpoints must open from the internet, by https.",
    ),
    "discovery": Reason(
        "What the identity provider says of itself is not what we need.",
        "The issuer with /.well-known/openid-configuration behind it must show an OpenID Connect discovery document.",
    ),
    "discovered_issuer": Reason(
        "The identity provider calls itself by another issuer than the one that was entered.",
        "Enter the issuer letter for letter. At Entra ID it holds your tenant's ID, neither “common” nor a name.",
    ),
    "code_refused": Reason(
        "The identity provider did not take back the code that it gave.",
        "Compare client ID and client secret (it may have ended), how we show the secret, and the redirect URI.",
    ),
    "no_id_token": Reason(
        "The answer has no ID token.", "Make the application there one of OpenID Connect, with the scope openid."
    ),
    "mixed_up": Reason(
        "The answer comes from another identity provider than the one that was asked.",
        f"{_AGAIN} If it happens again, the redirect URI is registered at another provider, too.",
    ),
    "token_malformed": Reason(
        "The token is none that we can read.", "Send signed JSON Web Tokens, unencrypted, with the usual claims."
    ),
    "token_algorithm": Reason(
        "The token is signed in a way that is not safe, or that the identity provider does not announce.",
        "Choose RS256, PS256 or ES256 (or stronger), with RSA keys of 2048 bits or more; never none or HS256.",
    ),
    "token_signature": Reason(
        "The token's signature is not the identity provider's.",
        "The key must be in the set that its discovery document names. If keys have changed, try again in a minute.",
    ),
    "token_issuer": Reason("The token was issued by another.", "Enter the issuer here as the tokens have it."),
    "token_audience": Reason(
        "The token was made for another application.", "Enter the client ID of the very application that people use."
    ),
    "token_expired": Reason(
        "The token is too old, or not valid yet.",
        f"{_AGAIN} If it happens again, set the clock of the identity provider.",
    ),
    "token_hash": Reason(
        "The tokens of the answer do not belong together.", f"{_AGAIN} Somebody may have exchanged one on the way."
    ),
    "nonce": Reason("The token answers another sign-in than this one.", _AGAIN),
    "not_asked_again": Reason(
        "The identity provider did not ask again who it is, as this needs.",
        "Let it heed prompt=login. Until then, sign out there and begin again.",
    ),
    "userinfo": Reason(
        "What the identity provider says at its userinfo endpoint does not belong to the token.",
        "The endpoint must answer JSON about the same subject as the ID token.",
    ),
    "email_unverified": Reason(
        "The identity provider says that the e-mail address is not verified.",
        "Have the person confirm the address there: email_verified must be true, or be left out.",
    ),
    "logout_token": Reason(
        "The logout token is not one that ends sessions.", "Send one as OpenID Connect Back-Channel Logout 1.0 has it."
    ),
}
