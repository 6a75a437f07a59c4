from django.apps import AppConfig


class ErrorKernelConfig(AppConfig):
    name = "errorkernel"
    verbose_name = "Error kernel"
    default_auto_field = "django.db.models.BigAutoField"
