"""The addresses of the hosted pages."""

from django.urls import path

from billing.sandbox import views

urlpatterns = [
    path("checkout/<str:stripe_id>", views.checkout_page),
    path("portal/<str:stripe_id>", views.portal_page),
    path("invoice/<str:stripe_id>/<str:page>", views.invoice_page),
    path("authenticate/<str:stripe_id>", views.authenticate_page),
]
