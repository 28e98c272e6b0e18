"""Leads through any other identity provider."""

from capsule_cloud.web.sso_guides import Copied, Guide, Mapped, Step
from capsule_cloud.web.sso_pictures import ACS, ENTITY, REDIRECT, Picture, Row
from tenancy.sso.setup.models import Protocol, Vendor

SAML = Guide(
    Vendor.OTHER,
    Protocol.SAML,
    "your identity provider",
    (
        Step(
            "Make a SAML 2.0 application there",
            (
                (
                    "It may be called application, service provider, relying party or client. One that is for "
                    "us alone is best: its certificate and its people are then ours alone, too."
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "Copy these. Once you have brought its metadata here, our own metadata is at the address of"
                    " the entity ID, for providers that read it."
                ),
                (
                    "Answers come by HTTP POST. Sign the assertion, the response or both with RSA-SHA256 or "
                    "stronger. **NameID** is the e-mail address, or an identifier that stays the same."
                ),
            ),
            copies=(
                Copied("ACS URL (assertion consumer service)", "acs_url"),
                Copied("Entity ID (audience)", "entity_id"),
                Copied("Single logout URL", "logout_url"),
                Copied("Login URL (start)", "login_url"),
            ),
            picture=Picture(
                "Your identity provider",
                "A SAML 2.0 application",
                (
                    Row("ACS URL (assertion consumer service)", ACS, mark=1),
                    Row("Entity ID (audience)", ENTITY, mark=2),
                    Row("NameID format", "Email address", "select", 3),
                    Row("Signature algorithm", "RSA-SHA256", "select", 4),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            ("These are the usual names. Other ones can be named in the provider's settings here.",),
            maps=(
                Mapped("email", "the e-mail address", "who somebody is; not needed where the NameID is it"),
                Mapped("displayName", "the full name", "the name that colleagues see"),
                Mapped("groups", "the names of groups", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Bring its metadata here",
            (
                (
                    "Best by its address: then a renewed certificate comes by itself. A file, or the XML "
                    "itself, will do as well."
                ),
            ),
            asks=True,
        ),
        Step("Assign yourself", ("Let yourself use the application there, for the test.",)),
    ),
)
OIDC = Guide(
    Vendor.OTHER,
    Protocol.OIDC,
    "your identity provider",
    (
        Step(
            "Make an OpenID Connect client there",
            (
                (
                    "A confidential one, for a web application: authorization code flow, PKCE with S256 where "
                    "it has it, and the scopes **openid**, **email** and **profile**. One that is for us alone "
                    "is best."
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "Copy these. With the back-channel logout URI, who signs out there is signed out here, too."
                    " ID tokens are signed with an asymmetric algorithm, such as **RS256** or **ES256**."
                ),
            ),
            copies=(
                Copied("Redirect URI", "redirect_uri"),
                Copied("Back-channel logout URI", "backchannel_logout_uri"),
                Copied("Login URL (start)", "login_url"),
            ),
            picture=Picture(
                "Your identity provider",
                "An OpenID Connect client",
                (
                    Row("Client type", "Confidential", "select", 1),
                    Row("Redirect URI", REDIRECT, mark=2),
                    Row("Back-channel logout URI", "https://…/logout/", mark=3),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            ("These are the standard claims, and come with the scopes email and profile.",),
            maps=(
                Mapped("email", "the e-mail address", "who somebody is"),
                Mapped("name", "the full name", "the name that colleagues see"),
                Mapped("groups", "the names of groups", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Bring what it gave you here",
            (
                (
                    "The issuer is the address below which **/.well-known/openid-configuration** is found; we "
                    "read all its other addresses there."
                ),
            ),
            asks=True,
        ),
    ),
    issuer="https://id.acme.com/realms/acme",
)
