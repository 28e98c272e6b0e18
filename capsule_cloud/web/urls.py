"""The addresses of the customers' pages."""

from django.urls import include, path

from capsule_cloud.web import account, audit, home, keys, members, memory, organization, outbox, projects, sessions

in_organization = [
    path("", home.home, name="home"),
    path("projects/", projects.index, name="projects"),
    path("projects/new/", projects.new, name="project_new"),
    path("projects/<slug:project>/", projects.detail, name="project"),
    path("projects/<slug:project>/update/", projects.update, name="project_update"),
    path("projects/<slug:project>/archive/", projects.archive, name="project_archive"),
    path("keys/", keys.index, name="keys"),
    path("keys/new/", keys.new, name="key_new"),
    path("keys/<uuid:key_id>/", keys.secret, name="key_secret"),
    path("keys/<uuid:key_id>/rotate/", keys.rotate, name="key_rotate"),
    path("keys/<uuid:key_id>/revoke/", keys.revoke, name="key_revoke"),
    path("members/", members.index, name="members"),
    path("members/invite/", members.invite, name="member_invite"),
    path("members/leave/", members.leave, name="member_leave"),
    path("members/<uuid:user_id>/role/", members.role, name="member_role"),
    path("members/<uuid:user_id>/remove/", members.remove, name="member_remove"),
    path("invitations/<uuid:invitation_id>/resend/", members.resend, name="invitation_resend"),
    path("invitations/<uuid:invitation_id>/revoke/", members.revoke, name="invitation_revoke"),
    path("memory/", memory.index, name="memory"),
    path("sessions/", sessions.index, name="sessions"),
    # Session ids are the customers' free text: they travel as `?id=`, where every character is safe.
    path("sessions/<slug:project>/", sessions.detail, name="session"),
    path("sessions/<slug:project>/seal/", sessions.seal, name="session_seal"),
    path("sessions/<slug:project>/triggers/", sessions.resolve, name="session_trigger"),
    path("audit/", audit.index, name="audit"),
    path("audit/<uuid:event_id>/", audit.detail, name="audit_event"),
    path("settings/", organization.detail, name="settings"),
    path("settings/name/", organization.rename, name="settings_rename"),
    path("settings/security/", organization.security, name="settings_security"),
    path("settings/close/", organization.close, name="settings_close"),
    path("settings/restore/", organization.restore, name="settings_restore"),
]
urlpatterns = [
    path("", home.front, name="front"),
    path("organizations/new/", home.organization_new, name="organization_new"),
    path("invitations/<str:token>/", home.invitation, name="invitation"),
    path("account/", account.overview, name="account"),
    path("account/sessions/<int:session_id>/end/", account.end_session, name="account_session_end"),
    path("outbox/", outbox.index, name="outbox"),
    path("o/<slug:slug>/", include(in_organization)),
]
