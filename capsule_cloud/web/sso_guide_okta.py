"""Leads through Okta."""

from capsule_cloud.web.sso_guides import Copied, Guide, Mapped, Step
from capsule_cloud.web.sso_pictures import ACS, APP, ENTITY, REDIRECT, Picture, Row
from tenancy.sso.setup.models import Protocol, Vendor

SAML = Guide(
    Vendor.OKTA,
    Protocol.SAML,
    "Okta Admin Console",
    (
        Step(
            "Make an app integration",
            (
                "Open **Applications → Applications** and choose **Create App Integration**.",
                (
                    "Choose **SAML 2.0**, then **Next**. Give it the **App name** Capsule Memory Cloud, and "
                    "choose **Next** again."
                ),
            ),
            picture=Picture(
                "Okta Admin Console",
                "Applications → Create a new app integration",
                (
                    Row("Sign-in method", kind="heading"),
                    Row("OIDC - OpenID Connect", kind="choice"),
                    Row("SAML 2.0", kind="choice", mark=1, is_chosen=True),
                    Row("SWA - Secure Web Authentication", kind="choice"),
                    Row("Next", kind="button", mark=2),
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "On **Configure SAML**, copy these two. Leave **Use this for Recipient URL and Destination "
                    "URL** ticked, and **Default RelayState** empty."
                ),
                "Set **Name ID format** to **EmailAddress** and **Application username** to **Email**.",
            ),
            copies=(Copied("Single sign-on URL", "acs_url"), Copied("Audience URI (SP Entity ID)", "entity_id")),
            picture=Picture(
                "Okta Admin Console",
                "Create SAML Integration → Configure SAML",
                (
                    Row("Single sign-on URL", ACS, mark=1),
                    Row("Use this for Recipient URL and Destination URL", kind="check", is_chosen=True),
                    Row("Audience URI (SP Entity ID)", ENTITY, mark=2),
                    Row("Name ID format", "EmailAddress", "select", 3),
                    Row("Application username", "Email", "select", 4),
                ),
            ),
        ),
        Step(
            "Say what it sends about people",
            (
                (
                    "Under **Attribute Statements**, add these. Where your console asks for an expression, "
                    "write **user.profile.email** in place of **user.email**."
                ),
                "Then choose **Next**, and **Finish**.",
            ),
            maps=(
                Mapped("email", "user.email", "who somebody is"),
                Mapped("displayName", "user.displayName", "the name that colleagues see"),
                Mapped("groups", "Group attribute, Matches regex .*", "only where groups shall give roles"),
            ),
        ),
        Step(
            "Bring its metadata here",
            ("On the tab **Sign On**, under **Metadata details**, copy the **Metadata URL**, and paste it here.",),
            picture=Picture(
                "Okta Admin Console",
                "Capsule Memory Cloud → Sign On",
                (
                    Row("SAML 2.0", kind="heading"),
                    Row("Metadata URL", "https://acme.okta.com/app/…/sso/saml/metadata", mark=1),
                    Row("Copy", kind="button", mark=2),
                ),
            ),
            asks=True,
        ),
        Step(
            "Assign yourself",
            (
                (
                    "On the tab **Assignments**, choose **Assign → Assign to People**, and assign yourself for "
                    "the test. Everybody else can follow afterwards."
                ),
            ),
        ),
    ),
)
OIDC = Guide(
    Vendor.OKTA,
    Protocol.OIDC,
    "Okta Admin Console",
    (
        Step(
            "Make an app integration",
            (
                "Open **Applications → Applications** and choose **Create App Integration**.",
                "Choose **OIDC - OpenID Connect**, then **Web Application**, and **Next**.",
            ),
            picture=Picture(
                "Okta Admin Console",
                "Applications → Create a new app integration",
                (
                    Row("OIDC - OpenID Connect", kind="choice", mark=1, is_chosen=True),
                    Row("SAML 2.0", kind="choice"),
                    Row("Application type", kind="heading"),
                    Row("Web Application", kind="choice", mark=2, is_chosen=True),
                    Row("Single-Page Application", kind="choice"),
                    Row("Next", kind="button", mark=3),
                ),
            ),
        ),
        Step(
            "Tell it where we are",
            (
                (
                    "Set **App integration name** to Capsule Memory Cloud, and keep **Authorization Code** as "
                    "the only grant type. Copy this, remove what stands under **Sign-out redirect URIs**, "
                    "choose who may use it under **Assignments**, then **Save**."
                ),
            ),
            copies=(Copied("Sign-in redirect URIs", "redirect_uri"),),
            picture=Picture(
                "Okta Admin Console",
                "New Web App Integration",
                (
                    Row("App integration name", APP, mark=1),
                    Row("Authorization Code", kind="check", is_chosen=True),
                    Row("Sign-in redirect URIs", REDIRECT, mark=2),
                    Row("Save", kind="button", mark=3),
                ),
            ),
        ),
        Step(
            "Bring what it gave you here",
            (
                (
                    "On the tab **General**, copy **Client ID** and the secret under **CLIENT SECRETS**. The "
                    "issuer is the address of your Okta, such as https://acme.okta.com: the tab **Sign On** "
                    "shows it as **Issuer**."
                ),
            ),
            picture=Picture(
                "Okta Admin Console",
                "Capsule Memory Cloud → General",
                (
                    Row("Client ID", "0oa1b2c3d4e5F6G7H8", mark=1),
                    Row("Client secret", "••••••••••••", mark=2),
                ),
            ),
            asks=True,
        ),
        Step(
            "Assign yourself",
            (
                (
                    "On the tab **Assignments**, choose **Assign → Assign to People**, and assign yourself for "
                    "the test. Where groups shall give roles, the tab **Sign On** has **Group claims filter**: "
                    "groups, Matches regex, .*; enter groups under More scopes here."
                ),
            ),
        ),
    ),
    issuer="https://acme.okta.com",
)
