from hypothesis import settings

# a busy machine is no failure: no deadline for a single example
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
