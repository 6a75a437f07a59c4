"""Django's admin. Its autodiscovery imports this package, and this registers everything."""

from django.contrib import admin

from errorkernel.admin import credentials, entrance, history, people

__all__ = ["credentials", "history", "people"]

admin.site.site_header = "Steward administration"
admin.site.site_title = "Steward administration"
admin.site.index_title = "Steward administration"
admin.site.site_url = "/"
admin.site.login = entrance.login  # type: ignore[method-assign]
