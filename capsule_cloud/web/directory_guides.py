"""Says step by step how a directory provisions people here, in the words of its own console."""

from tenancy.scim.models import Directory

Step = tuple[str, tuple[str, ...]]  # a title, and what to do
Kind = Directory.Kind
_ASSIGNED = "Whoever is assigned becomes a member here; whoever no longer is, is out once the directory says so."
GUIDES: dict[str, tuple[Step, ...]] = {
    Kind.OKTA: (
        (
            "Switch provisioning on",
            (
                "Open the app integration by which your people sign in here.",
                "Under “General” → “App Settings”, choose “Edit”, set “Provisioning” to “SCIM”, and save.",
            ),
        ),
        (
            "Connect",
            (
                "Under “Provisioning” → “Integration”, choose “Edit”.",
                "“SCIM connector base URL” is the base URL, “Unique identifier field for users” is userName.",
                "Tick “Push New Users”, “Push Profile Updates” and “Push Groups”.",
                "“Authentication Mode” is “HTTP Header”, its “Authorization” the token.",
                "Choose “Test Connector Configuration”, then save.",
            ),
        ),
        (
            "Let it write",
            ("Under “Provisioning” → “To App”, enable “Create Users”, “Update User Attributes”, “Deactivate Users”.",),
        ),
        (
            "Assign people",
            (
                "Under “Assignments”.",
                _ASSIGNED,
            ),
        ),
        (
            "Push groups",
            (
                "Under “Push Groups”, those that give roles here.",
                "Not the same groups as under “Assignments”.",
            ),
        ),
    ),
    Kind.ENTRA: (
        (
            "Open provisioning",
            (
                "In the enterprise application by which your people sign in here, open “Provisioning”.",
                "Make a new configuration; its “Provisioning Mode” is “Automatic”.",
            ),
        ),
        (
            "Connect",
            (
                "“Tenant URL” is the base URL with ?aadOptscim062020 behind it, “Secret Token” the token.",
                "Choose “Test Connection”, then save.",
            ),
        ),
        (
            "Map the identifier",
            (
                "Under “Mappings” → “Provision Microsoft Entra ID Users”, let externalId come from objectId.",
                'emails[type eq "work"].value comes from mail.',
                "userPrincipalName stays userName.",
            ),
        ),
        (
            "Assign people and groups",
            (
                "Under “Users and groups”, with the scope “Sync only assigned”.",
                _ASSIGNED,
            ),
        ),
        (
            "Start",
            (
                "Set “Provisioning Status” to “On”.",
                "Entra ID comes every 40 minutes or so; “Provision on demand” tries one person at once.",
            ),
        ),
    ),
    Kind.GOOGLE: (
        (
            "Know the limit",
            (
                "Google Workspace provisions only to applications of its own catalogue, and pushes no groups.",
                "A custom SAML app signs people in, and cannot provision them.",
            ),
        ),
        (
            "Use what can",
            (
                "Where Okta, Entra ID or JumpCloud follows your Google Workspace, let that one provision here.",
                "Where it offers “Auto-provisioning”, “Endpoint URL” is the base URL, “Access token” the token.",
            ),
        ),
        (
            "Otherwise",
            (
                "People become members when they first sign in by single sign-on.",
                "Remove those who leave under Members, or by our API.",
            ),
        ),
    ),
    Kind.ONELOGIN: (
        (
            "Add the application",
            ("Under “Applications” → “Add App”, choose “SCIM Provisioner with SAML (SCIM v2 Enterprise)”.",),
        ),
        (
            "Connect",
            (
                "Under “Configuration”, “SCIM Base URL” is the base URL, “SCIM Bearer Token” the token.",
                "Keep the JSON template, with the address under emails.",
                "Choose “Enable”, then save.",
            ),
        ),
        (
            "Name people by address",
            ("Under “Parameters”, set “scimusername” to “Email”.",),
        ),
        (
            "Switch it on",
            (
                "Under “Provisioning”, tick “Enable provisioning”.",
                "When somebody is deleted or unassigned, let it “Suspend” or “Delete”.",
            ),
        ),
        (
            "Assign people",
            (
                "By roles or user by user.",
                _ASSIGNED,
            ),
        ),
    ),
    Kind.JUMPCLOUD: (
        (
            "Open identity management",
            ("Open the application by which your people sign in here, and its “Identity Management” tab.",),
        ),
        (
            "Connect",
            (
                "“SCIM Version” is “SCIM 2.0”, “Base URL” the base URL, “Token Key” the token.",
                "“Test User Email” is an address in a domain that you have verified.",
                "Tick the management of groups.",
                "Choose “Test Connection”, “Activate”, then save.",
            ),
        ),
        (
            "Assign groups",
            (
                "Under “User Groups”.",
                _ASSIGNED,
            ),
        ),
    ),
    Kind.GENERIC: (
        (
            "Connect",
            ("It must speak SCIM 2.0 (RFC 7644) and send the token as a bearer token in the Authorization header.",),
        ),
        (
            "Map",
            (
                "userName: what is unique to a person.",
                "emails: the address, in a domain that you have verified.",
                "externalId: an identifier that never changes.",
                "active: false for whoever leaves.",
            ),
        ),
        (
            "Assign people",
            (_ASSIGNED,),
        ),
    ),
}
