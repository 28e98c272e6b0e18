"""Leads through OneLogin."""

from capsule_cloud.web.sso_guides import Copied, Guide, Mapped, Step
from capsule_cloud.web.sso_pictures import ACS, ENTITY, REDIRECT, Picture, Row
from tenancy.sso.setup.models import Protocol, Vendor

SAML = Guide(
    Vendor.ONELOGIN,
    Protocol.SAML,
    "OneLogin Administration",
    (
        Step(
            "Add an app",
            (
                (
                    "Open **Applications → Applications**, choose **Add App**, and search for **SAML Custom "
                    "Connector (Advanced)**."
                ),
                "Set **Display Name** to Capsule Memory Cloud, and choose **Save**.",
            ),
            picture=Picture(
                "OneLogin Administration",
                "Applications → Find Applications",
                (
                    Row("Search", "SAML Custom Connector (Advanced)", mark=1),
                    Row("SAML Custom Connector (Advanced)", kind="choice", mark=2, is_chosen=True),
                    Row("Save", kind="button", mark=3),
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "On the tab **Configuration**, copy these. Set **SAML initiator** to **Service Provider**, "
                    "**SAML nameID format** to **Email**, and **SAML signature element** to **Assertion**. Then"
                    " choose **Save**."
                ),
            ),
            copies=(
                Copied("Audience (EntityID)", "entity_id"),
                Copied("Recipient", "acs_url"),
                Copied("ACS (Consumer) URL Validator", "acs_validator"),
                Copied("ACS (Consumer) URL", "acs_url"),
                Copied("Single Logout URL", "logout_url"),
            ),
            picture=Picture(
                "OneLogin Administration",
                "Capsule Memory Cloud → Configuration",
                (
                    Row("Audience (EntityID)", ENTITY, mark=1),
                    Row("Recipient", ACS, mark=2),
                    Row("ACS (Consumer) URL Validator", "^https://…/acs/$", mark=3),
                    Row("ACS (Consumer) URL", ACS, mark=4),
                    Row("SAML nameID format", "Email", "select", 5),
                    Row("SAML signature element", "Assertion", "select", 6),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            ("On the tab **Parameters**, add these with **+**, each with **Include in SAML assertion** ticked.",),
            maps=(
                Mapped("email", "Email", "who somebody is"),
                Mapped("displayName", "Name", "the name that colleagues see"),
                Mapped("groups", "User Roles", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Bring its metadata here",
            (
                (
                    "On the tab **SSO**, set **SAML Signature Algorithm** to **SHA-256**: of itself it is "
                    "SHA-1, which is no longer safe. Choose **Save**."
                ),
                (
                    "Copy the **Issuer URL**, which is the address of its metadata, and paste it here. Or "
                    "choose **More Actions → SAML Metadata** and give us the file."
                ),
            ),
            picture=Picture(
                "OneLogin Administration",
                "Capsule Memory Cloud → SSO",
                (
                    Row("SAML Signature Algorithm", "SHA-256", "select", 1),
                    Row("Issuer URL", "https://app.onelogin.com/saml/metadata/…", mark=2),
                    Row("SAML 2.0 Endpoint (HTTP)", "https://acme.onelogin.com/trust/saml2/…"),
                ),
            ),
            asks=True,
        ),
        Step(
            "Assign yourself",
            (
                (
                    "Open **Users → Users**, choose yourself, the tab **Applications**, then **+**, and choose "
                    "Capsule Memory Cloud. For everybody else, the app's tab **Access** has roles."
                ),
            ),
        ),
    ),
)
OIDC = Guide(
    Vendor.ONELOGIN,
    Protocol.OIDC,
    "OneLogin Administration",
    (
        Step(
            "Add an app",
            (
                (
                    "Open **Applications → Applications**, choose **Add App**, and search for **OpenId Connect "
                    "(OIDC)**. Set **Display Name** to Capsule Memory Cloud, and choose **Save**."
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            ("On the tab **Configuration**, copy this under **Redirect URI's**, then choose **Save**.",),
            copies=(Copied("Redirect URI's", "redirect_uri"),),
            picture=Picture(
                "OneLogin Administration",
                "Capsule Memory Cloud → Configuration",
                (
                    Row("Login Url"),
                    Row("Redirect URI's", REDIRECT, mark=1),
                    Row("Save", kind="button", mark=2),
                ),
            ),
        ),
        Step(
            "Bring what it gave you here",
            (
                (
                    "On the tab **SSO**, set **Application Type** to **Web** and **Token Endpoint** to **POST**"
                    " or **Basic**, and choose **Save**. Copy **Client ID**, **Client Secret** and **Issuer "
                    "URL**."
                ),
            ),
            picture=Picture(
                "OneLogin Administration",
                "Capsule Memory Cloud → SSO",
                (
                    Row("Client ID", "a1b2c3d4-…", mark=1),
                    Row("Client Secret", "••••••••••••", mark=2),
                    Row("Issuer URL", "https://acme.onelogin.com/oidc/2", mark=3),
                    Row("Application Type", "Web", "select", 4),
                ),
            ),
            asks=True,
        ),
        Step(
            "Assign yourself",
            (
                (
                    "Open **Users → Users**, choose yourself, the tab **Applications**, then **+**, and choose "
                    "Capsule Memory Cloud. For everybody else, the app's tab **Access** has roles."
                ),
            ),
        ),
    ),
    issuer="https://acme.onelogin.com/oidc/2",
)
