"""What can go wrong, split by what the caller should do about it."""


class PipelineError(Exception):
    """Base of every error this package raises on purpose; its text is one line fit for a user."""


class RecipeError(PipelineError, ValueError):
    """The request is wrong (recipe, places, output folder): fix it; a retry cannot help."""


class SourceError(PipelineError):
    """A provider refused, or what it holds cannot be used: report it and go on."""


class TransientSourceError(SourceError):
    """A provider was unreachable or throttled: the only error that is worth a retry."""


class AllowanceError(TransientSourceError):
    """A provider's allowance is used up: stop now; the same request goes on when there is allowance again."""


class PixelError(PipelineError, ValueError):
    """An array broke its contract of shape, dtype or no-data: a bug; stop."""


class LayoutError(PipelineError, ValueError):
    """A store on disk is not what it says it is: stop."""


class TargetError(PipelineError):
    """The dataset's place cannot be written (full, read-only): stop; mend it, and the same request goes on."""
