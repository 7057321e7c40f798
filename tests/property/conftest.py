from hypothesis import settings

settings.register_profile("long", print_blob=True)
