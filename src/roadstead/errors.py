"""Everything that can go wrong, in domain words.

The first line of a class's docstring is the sentence that the user reads when the raiser has nothing
more precise to say. Doors translate classes, never messages: each door has one table from these classes to its wire form.

    RoadsteadError
    ├── InvalidInput                 what was sent cannot be understood
    │   ├── InvalidName
    │   ├── InvalidTag
    │   ├── InvalidDigest
    │   │   └── UnsupportedAlgorithm
    │   ├── InvalidManifest
    │   │   └── UnsupportedManifestType
    │   ├── InvalidRange
    │   ├── InvalidPaging
    │   ├── InvalidAccount
    │   ├── InvalidLayer
    │   └── InvalidSif
    ├── TooLarge
    │   ├── ManifestTooLarge
    │   ├── TooManyTags
    │   └── ImageTooLarge
    ├── Conflict                     it is there already, or is still in use
    │   ├── InUse                    something else must go first
    │   └── TagMoved                 a tag does not stand any more for what it stood for
    ├── DigestMismatch               the content is not what its digest says
    ├── SizeMismatch                 fewer or more bytes came than were announced
    ├── OutOfOrder                   a chunk does not begin where the upload stands
    ├── RangeNotSatisfiable
    ├── NotFound
    │   ├── ProjectUnknown
    │   ├── RepositoryUnknown
    │   ├── ManifestUnknown
    │   ├── BlobUnknown
    │   └── UploadUnknown
    ├── ReferenceMissing             a manifest names content that is not here
    ├── Refused                      understood, and not allowed
    │   ├── Unauthenticated
    │   │   └── InsufficientScope
    │   ├── Denied
    │   ├── GateRefused
    │   ├── QuotaExceeded
    │   └── TooManyRequests          `retry_after` (seconds) in the detail says when
    ├── NotOffered                   understood, and not part of this registry
    ├── NotConvertible               the image cannot be had in the form asked for
    ├── ClientFault                  the other end of the connection failed us
    │   ├── ClientGone
    │   └── BodyTimeout
    ├── Unavailable                  this side failed; nothing acknowledged is lost
    │   ├── ContentDamaged
    │   ├── StorageFull
    │   ├── StoreFailed
    │   ├── DatabaseFailed
    │   ├── SourceFailed             a login source does not answer
    │   └── NotReady                 it is being made; `retry_after` (seconds) in the detail says when to ask again
    └── Misconfigured                the installation cannot run as it is set up
"""

from __future__ import annotations


class RoadsteadError(Exception):
    """The request could not be carried out."""

    attempt: object = None
    """For the audit log alone: who was refused what, where the policy refused (`access.policy.Attempt`)."""

    def __init__(self, message: str | None = None, **detail: object) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.detail = detail
        super().__init__(self.message)


class InvalidInput(RoadsteadError):
    """The request cannot be understood."""


class InvalidName(InvalidInput):
    """The repository name is not valid."""


class InvalidTag(InvalidInput):
    """The tag is not valid: it takes 1 to 128 letters, digits, '_', '.' and '-', and begins with a letter, a digit or '_'."""


class InvalidDigest(InvalidInput):
    """The digest is not valid: write the algorithm, a colon and the hash in lower-case hexadecimal, as in sha256:<64 digits>."""


class UnsupportedAlgorithm(InvalidDigest):
    """The digest's algorithm is not supported: this registry takes sha256 and sha512."""


class InvalidManifest(InvalidInput):
    """The manifest is not valid."""


class UnsupportedManifestType(InvalidManifest):
    """The manifest's media type is not one that this registry stores."""


class InvalidRange(InvalidInput):
    """The Content-Range is not valid: write the first and last byte offset, as in 0-1023."""


class InvalidPaging(InvalidInput):
    """The paging parameters are not valid: 'n' is a whole number from 0."""


class InvalidAccount(InvalidInput):
    """The name, password or setting of an account, robot, project or member is not valid."""


class InvalidLayer(InvalidInput):
    """The layer is damaged, or not a tar archive as container images have them."""


class InvalidSif(InvalidInput):
    """The file is not a sound SIF image."""


class TooLarge(RoadsteadError):
    """What was sent is larger than this registry accepts."""


class ManifestTooLarge(TooLarge):
    """The manifest is larger than 4 MiB."""


class TooManyTags(TooLarge):
    """One push may set at most 100 tags."""


class ImageTooLarge(TooLarge):
    """The image unpacks to more than is converted here."""


class Conflict(RoadsteadError):
    """It is there already, or is still in use."""


class InUse(Conflict):
    """It is still in use: delete first what it holds."""


class TagMoved(Conflict):
    """The tag is being changed by somebody else at this moment; try again."""


class DigestMismatch(RoadsteadError):
    """The content does not have the digest that was given for it."""


class SizeMismatch(RoadsteadError):
    """The number of bytes received is not the number that was announced."""


class OutOfOrder(RoadsteadError):
    """The chunk does not begin where the upload stands; ask for its status and continue from there."""


class RangeNotSatisfiable(RoadsteadError):
    """The requested range lies outside the content."""


class NotFound(RoadsteadError):
    """There is no such thing here."""


class ProjectUnknown(NotFound):
    """There is no such project, or you may not see it."""


class RepositoryUnknown(NotFound):
    """There is no such repository, or you may not see it."""


class ManifestUnknown(NotFound):
    """There is no such manifest or tag in this repository."""


class BlobUnknown(NotFound):
    """There is no such blob in this repository."""


class UploadUnknown(NotFound):
    """There is no such upload: it was never started, has finished, was cancelled or has expired."""


class ReferenceMissing(RoadsteadError):
    """The manifest refers to content that is not in this repository; push that first."""


class Refused(RoadsteadError):
    """This is not allowed."""


class Unauthenticated(Refused):
    """Authentication is required: log in first."""


class InsufficientScope(Unauthenticated):
    """The token presented does not cover this; ask for one that does."""


class Denied(Refused):
    """Your account may not do this."""


class GateRefused(Refused):
    """A policy of this registry forbids this."""


class QuotaExceeded(Refused):
    """The project's storage quota does not allow this."""


class TooManyRequests(Refused):
    """Too many requests: wait a while, then try again."""


class NotOffered(RoadsteadError):
    """This registry does not offer that."""


class NotConvertible(RoadsteadError):
    """The image cannot be converted."""


class ClientFault(RoadsteadError):
    """The connection failed on the client's side."""


class ClientGone(ClientFault):
    """The client closed the connection before the request was complete."""


class BodyTimeout(ClientFault):
    """The request body stalled for too long."""


class Unavailable(RoadsteadError):
    """The registry cannot do this now; nothing that it acknowledged is lost."""


class ContentDamaged(Unavailable):
    """Stored content is missing or damaged; the administrator has been alarmed."""


class StorageFull(Unavailable):
    """The registry's storage is full."""


class StoreFailed(Unavailable):
    """The registry's storage does not answer."""


class DatabaseFailed(Unavailable):
    """The registry's database does not answer."""


class SourceFailed(Unavailable):
    """The directory or identity provider that knows this account does not answer."""


class NotReady(Unavailable):
    """The image is still being converted; try again in a moment."""


class Misconfigured(RoadsteadError):
    """Roadstead cannot run with these settings."""
