"""Leads through JumpCloud."""

from capsule_cloud.web.sso_guides import Copied, Guide, Mapped, Step
from capsule_cloud.web.sso_pictures import ACS, ENTITY, REDIRECT, Picture, Row
from tenancy.sso.setup.models import Protocol, Vendor

SAML = Guide(
    Vendor.JUMPCLOUD,
    Protocol.SAML,
    "JumpCloud Admin Portal",
    (
        Step(
            "Add a custom application",
            (
                (
                    "Open **Access → SSO Applications**, choose **Add New Application**, then **Custom "
                    "Application**, and **Next**."
                ),
                (
                    "Tick **Manage Single Sign-On (SSO)**, choose **Configure SSO with SAML**, and **Next**. "
                    "Set **Display Label** to Capsule Memory Cloud, choose **Save Application**, then "
                    "**Configure Application**."
                ),
            ),
            picture=Picture(
                "JumpCloud Admin Portal",
                "SSO Applications → Custom Application",
                (
                    Row("Manage Single Sign-On (SSO)", kind="check", mark=1, is_chosen=True),
                    Row("Configure SSO with SAML", kind="choice", mark=2, is_chosen=True),
                    Row("Configure SSO with OIDC", kind="choice"),
                    Row("Next", kind="button", mark=3),
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "On the tab **SSO**, copy these. Set **SAMLSubject NameID** to **email**, **Signature "
                    "Algorithm** to **RSA-SHA256**, and tick **Sign Assertion**."
                ),
                "As **IdP Entity ID**, keep what is there or write a name of your own, such as jumpcloud-acme.",
            ),
            copies=(
                Copied("SP Entity ID", "entity_id"),
                Copied("Default URL (ACS URLs)", "acs_url"),
                Copied("Login URL", "login_url"),
            ),
            picture=Picture(
                "JumpCloud Admin Portal",
                "Capsule Memory Cloud → SSO",
                (
                    Row("IdP Entity ID", "jumpcloud-acme"),
                    Row("SP Entity ID", ENTITY, mark=1),
                    Row("Default URL (ACS URLs)", ACS, mark=2),
                    Row("SAMLSubject NameID", "email", "select", 3),
                    Row("Signature Algorithm", "RSA-SHA256", "select", 4),
                    Row("Sign Assertion", kind="check", mark=5, is_chosen=True),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            ("Under **Attributes**, choose **add attribute** for these. Then choose **Save**.",),
            maps=(
                Mapped("email", "email", "who somebody is"),
                Mapped("displayName", "displayname", "the name that colleagues see"),
                Mapped("groups", "Include group attribute", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Bring its metadata here",
            (
                (
                    "Back on the tab **SSO**, at **JumpCloud Metadata**, choose **Copy Metadata URL** and paste"
                    " it here, or **Export Metadata** and give us the file."
                ),
            ),
            picture=Picture(
                "JumpCloud Admin Portal",
                "Capsule Memory Cloud → SSO",
                (
                    Row("JumpCloud Metadata", kind="heading"),
                    Row("Export Metadata", kind="button"),
                    Row("Copy Metadata URL", kind="button", mark=1),
                ),
            ),
            asks=True,
        ),
        Step(
            "Assign yourself",
            ("On the tab **User Groups**, tick a group with you in it, and choose **Save**.",),
        ),
    ),
)
OIDC = Guide(
    Vendor.JUMPCLOUD,
    Protocol.OIDC,
    "JumpCloud Admin Portal",
    (
        Step(
            "Add a custom application",
            (
                (
                    "Open **Access → SSO Applications**, choose **Add New Application**, then **Custom "
                    "Application**, and **Next**. Tick **Manage Single Sign-On (SSO)**, choose **Configure SSO "
                    "with OIDC**, and **Next**. Set **Display Label** to Capsule Memory Cloud, choose **Save "
                    "Application**, then **Configure Application**."
                ),
            ),
            picture=Picture(
                "JumpCloud Admin Portal",
                "SSO Applications → Custom Application",
                (
                    Row("Manage Single Sign-On (SSO)", kind="check", mark=1, is_chosen=True),
                    Row("Configure SSO with SAML", kind="choice"),
                    Row("Configure SSO with OIDC", kind="choice", mark=2, is_chosen=True),
                    Row("Next", kind="button", mark=3),
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "On the tab **SSO**, copy these. Set **Client Authentication Type** to **Client Secret "
                    "Basic**. Under **Attribute Mapping**, tick **Email** and **Profile**."
                ),
            ),
            copies=(Copied("Redirect URIs", "redirect_uri"), Copied("Login URL", "login_url")),
            picture=Picture(
                "JumpCloud Admin Portal",
                "Capsule Memory Cloud → SSO",
                (
                    Row("Redirect URIs", REDIRECT, mark=1),
                    Row("Client Authentication Type", "Client Secret Basic", "select", 2),
                    Row("Email", kind="check", mark=3, is_chosen=True),
                    Row("Profile", kind="check", mark=4, is_chosen=True),
                ),
            ),
        ),
        Step(
            "Bring what it gave you here",
            (
                (
                    "Choose **Activate**, and copy **Client ID** and **Client Secret** from the window that "
                    "opens. The secret is shown there alone. The issuer is the same for everybody."
                ),
            ),
            asks=True,
        ),
        Step("Assign yourself", ("On the tab **User Groups**, tick a group with you in it, and choose **Save**.",)),
    ),
    issuer="https://oauth.id.jumpcloud.com/",
)
