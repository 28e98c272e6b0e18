"""Leads through Microsoft Entra ID."""

from capsule_cloud.web.sso_guides import Copied, Guide, Mapped, Step
from capsule_cloud.web.sso_pictures import ACS, APP, ENTITY, REDIRECT, Picture, Row
from tenancy.sso.setup.models import Protocol, Vendor

SAML = Guide(
    Vendor.ENTRA,
    Protocol.SAML,
    "Microsoft Entra admin center",
    (
        Step(
            "Make an enterprise application",
            (
                (
                    "Open **Entra ID → Enterprise apps**, choose **New application**, then **Create your own "
                    "application**."
                ),
                (
                    "Name it Capsule Memory Cloud, keep **Integrate any other application you don't find in the"
                    " gallery**, and choose **Create**."
                ),
            ),
            picture=Picture(
                "Microsoft Entra admin center",
                "Enterprise apps → Create your own application",
                (
                    Row("What's the name of your app?", APP, mark=1),
                    Row("Configure Application Proxy", kind="choice"),
                    Row("Register an application to integrate with Microsoft Entra ID", kind="choice"),
                    Row("Integrate any other application (Non-gallery)", kind="choice", mark=2, is_chosen=True),
                    Row("Create", kind="button", mark=3),
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                "Open **Single sign-on**, choose **SAML**, then **Edit** at **Basic SAML Configuration**.",
                "Copy these, and choose **Save**. **Sign on URL** and **Relay State** stay empty.",
            ),
            copies=(
                Copied("Identifier (Entity ID)", "entity_id"),
                Copied("Reply URL (Assertion Consumer Service URL)", "acs_url"),
                Copied("Logout Url", "logout_url"),
            ),
            picture=Picture(
                "Microsoft Entra admin center",
                "Single sign-on → Basic SAML Configuration",
                (
                    Row("Identifier (Entity ID)", ENTITY, mark=1),
                    Row("Reply URL (Assertion Consumer Service URL)", ACS, mark=2),
                    Row("Sign on URL (Optional)"),
                    Row("Relay State (Optional)"),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            (
                (
                    "At **Attributes & Claims**, the claim **emailaddress** must hold the address that people "
                    "use. It is there from the start, with **user.mail**."
                ),
                (
                    "Add a claim for the name that colleagues see: **Name** displayname, **Namespace** "
                    "http://schemas.microsoft.com/identity/claims, **Source attribute** user.displayname."
                ),
                (
                    "Where groups shall give roles, choose **Add a group claim**, **Groups assigned to the "
                    "application**."
                ),
            ),
            maps=(
                Mapped("emailaddress", "user.mail", "who somebody is"),
                Mapped("displayname", "user.displayname", "the name that colleagues see"),
                Mapped("groups", "Groups assigned to the application", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Bring its metadata here",
            ("At **SAML Certificates**, copy the **App Federation Metadata Url**, and paste it here.",),
            picture=Picture(
                "Microsoft Entra admin center",
                "Single sign-on → SAML Certificates",
                (
                    Row("Token signing certificate", kind="heading"),
                    Row("Status", "Active"),
                    Row("App Federation Metadata Url", "https://login.microsoftonline.com/…", mark=1),
                ),
            ),
            asks=True,
        ),
        Step(
            "Assign yourself",
            ("Open **Users and groups**, choose **Add user/group**, and assign yourself for the test.",),
        ),
    ),
)
OIDC = Guide(
    Vendor.ENTRA,
    Protocol.OIDC,
    "Microsoft Entra admin center",
    (
        Step(
            "Register an application",
            (
                (
                    "Open **Entra ID → App registrations**, and choose **New registration**. Name it Capsule "
                    "Memory Cloud, and keep **Accounts in this organizational directory only**."
                ),
                "At **Redirect URI**, choose **Web**, copy this beside it, then choose **Register**.",
            ),
            copies=(Copied("Redirect URI (Web)", "redirect_uri"),),
            picture=Picture(
                "Microsoft Entra admin center",
                "App registrations → Register an application",
                (
                    Row("Name", APP, mark=1),
                    Row("Accounts in this organizational directory only", kind="choice", mark=2, is_chosen=True),
                    Row("Redirect URI: platform", "Web", "select", 3),
                    Row("Redirect URI", REDIRECT, mark=4),
                    Row("Register", kind="button", mark=5),
                ),
            ),
        ),
        Step(
            "Make a secret",
            (
                (
                    "Open **Certificates & secrets**, choose **New client secret**, and copy its **Value** at "
                    "once: it is not shown again. The **Secret ID** is not needed. Note when it expires: nobody"
                    " signs in with an expired one."
                ),
            ),
            picture=Picture(
                "Microsoft Entra admin center",
                "Capsule Memory Cloud → Certificates & secrets",
                (
                    Row("Client secrets", kind="heading"),
                    Row("Value", "x8Q~…", mark=1),
                    Row("Secret ID", "5f1c… (not this one)"),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            (
                (
                    "Open **Token configuration**, choose **Add optional claim**, **ID**, tick **email**, then "
                    "**Add**. Where groups shall give roles, choose **Add groups claim**, **Groups assigned to "
                    "the application**."
                ),
            ),
            maps=(
                Mapped("email", "optional claim of the ID token", "who somebody is"),
                Mapped("name", "always there", "the name that colleagues see"),
                Mapped("groups", "groups claim of the ID token", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Bring what it gave you here",
            (
                (
                    "On **Overview**, copy **Application (client) ID**. The issuer is "
                    "https://login.microsoftonline.com/, then the **Directory (tenant) ID**, then /v2.0."
                ),
            ),
            picture=Picture(
                "Microsoft Entra admin center",
                "Capsule Memory Cloud → Overview",
                (
                    Row("Application (client) ID", "6731de76-14a6-49ae-…", mark=1),
                    Row("Object ID", "9a5f… (not this one)"),
                    Row("Directory (tenant) ID", "0c349e3f-1ac3-4610-…", mark=2),
                ),
            ),
            asks=True,
        ),
        Step(
            "Let yourself in",
            (
                (
                    "Open **Enterprise apps → Capsule Memory Cloud → Users and groups**, and assign yourself. "
                    "Where **Assignment required?** is **No** under **Properties**, everybody in the directory "
                    "may use it."
                ),
            ),
        ),
    ),
    issuer="https://login.microsoftonline.com/your-tenant-id/v2.0",
)
