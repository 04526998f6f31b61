from hypothesis import settings

unhurried = settings(deadline=None)  # examples that are slow on a busy machine are no failures
