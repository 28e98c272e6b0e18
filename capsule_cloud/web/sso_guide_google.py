"""Leads through Google Workspace."""

from capsule_cloud.web.sso_guides import Copied, Guide, Mapped, Step
from capsule_cloud.web.sso_pictures import ACS, APP, ENTITY, REDIRECT, Picture, Row
from tenancy.sso.setup.models import Protocol, Vendor

SAML = Guide(
    Vendor.GOOGLE,
    Protocol.SAML,
    "Google Admin console",
    (
        Step(
            "Add a custom SAML app",
            (
                "Open **Apps → Web and mobile apps**, choose **Add app**, then **Add custom SAML app**.",
                "Name it Capsule Memory Cloud, and choose **Continue**.",
            ),
            picture=Picture(
                "Google Admin console",
                "Web and mobile apps → Add custom SAML app",
                (
                    Row("App details", kind="heading"),
                    Row("App name", APP, mark=1),
                    Row("Description"),
                    Row("Continue", kind="button", mark=2),
                ),
            ),
        ),
        Step(
            "Bring its metadata here",
            (
                (
                    "On **Google Identity Provider details**, choose **Download metadata**, and give us the "
                    "file. Leave the page open there: you go on with it."
                ),
            ),
            picture=Picture(
                "Google Admin console",
                "Add custom SAML app → Google Identity Provider details",
                (
                    Row("Option 1: Download IdP metadata", kind="heading"),
                    Row("Download metadata", kind="button", mark=1),
                    Row("Option 2: Copy the SSO URL, entity ID, and certificate", kind="heading"),
                    Row("SSO URL", "https://accounts.google.com/o/saml2/idp?idpid=…"),
                ),
            ),
            asks=True,
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "Choose **Continue**. On **Service provider details**, copy these two, set **Name ID "
                    "format** to **EMAIL** and **Name ID** to **Basic Information > Primary email**, then "
                    "choose **Continue**."
                ),
            ),
            copies=(Copied("ACS URL", "acs_url"), Copied("Entity ID", "entity_id")),
            picture=Picture(
                "Google Admin console",
                "Add custom SAML app → Service provider details",
                (
                    Row("ACS URL", ACS, mark=1),
                    Row("Entity ID", ENTITY, mark=2),
                    Row("Signed response", kind="check"),
                    Row("Name ID format", "EMAIL", "select", 3),
                    Row("Name ID", "Basic Information > Primary email", "select", 4),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            (
                (
                    "On **Attribute mapping**, nothing is needed: the address comes as the Name ID. Where "
                    "groups shall give roles, choose them under **Group membership**, with the **App "
                    "attribute** groups. Then choose **Finish**."
                ),
            ),
            maps=(
                Mapped("name", "Basic Information > First name", "the name that colleagues see; optional"),
                Mapped("groups", "Group membership", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Switch it on for people",
            (
                (
                    "On the app's page, open **User access**, choose **On for everyone** or an organizational "
                    "unit with you in it, then **Save**. It may take Google some minutes."
                ),
            ),
        ),
    ),
    metadata_by="file",
)
OIDC = Guide(
    Vendor.GOOGLE,
    Protocol.OIDC,
    "Google Cloud console",
    (
        Step(
            "Let your own people alone use it",
            (
                (
                    "Choose a project of your organization, open **Google Auth Platform → Audience**, and set "
                    "**User type** to **Internal**: then only people of your Google Workspace can come."
                ),
            ),
            picture=Picture(
                "Google Cloud console",
                "Google Auth Platform → Audience",
                (
                    Row("User type", kind="heading"),
                    Row("Internal", kind="choice", mark=1, is_chosen=True),
                    Row("External", kind="choice"),
                ),
            ),
        ),
        Step(
            "Make a client",
            (
                (
                    "Open **Clients**, choose **Create client**, the **Application type** Web application, and "
                    "the name Capsule Memory Cloud. Under **Authorized redirect URIs**, choose **Add URI**, "
                    "copy this, then choose **Create**."
                ),
            ),
            copies=(Copied("Authorized redirect URIs", "redirect_uri"),),
            picture=Picture(
                "Google Cloud console",
                "Google Auth Platform → Create client",
                (
                    Row("Application type", "Web application", "select", 1),
                    Row("Name", APP, mark=2),
                    Row("Authorized redirect URIs", REDIRECT, mark=3),
                    Row("Create", kind="button", mark=4),
                ),
            ),
        ),
        Step(
            "Bring what it gave you here",
            (
                (
                    "Copy **Client ID** and **Client secret** from the window that opens. The secret is shown "
                    "there alone. The issuer is the same for everybody."
                ),
            ),
            asks=True,
        ),
    ),
    issuer="https://accounts.google.com",
)
