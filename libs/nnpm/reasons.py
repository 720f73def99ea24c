"""Every reason that an nnpm error can carry, with what it means: the documentation's table is made from this one.

Sorted by name. A reason is never renamed or reused once released.
"""

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "ADDRESS_IN_USE": "A listen address is taken by another process, or is not one of this machine's.",
    "CALL_CANCELLED": "The caller cancelled the call.",
    "CONTENT_MISMATCH": "Received bytes are not those that the digest names.",
    "DEADLINE_EXCEEDED": "The call's deadline passed before its answer.",
    "EXTERNAL_DATA_OUTSIDE": "An ONNX model names external data outside its package.",
    "FILE_NOT_FOUND": "A file that was named is not there.",
    "INTERNAL_ERROR": "A fault inside nnpm; the service's log has the details under the trace id.",
    "INVALID_CONFIG": "nnpm.toml is malformed; the violations name the keys.",
    "INVALID_DEPLOYMENT_NAME": "A deployment's name is not in the grammar of names.",
    "INVALID_DIGEST": "A digest is not sha256: and 64 hex digits.",
    "INVALID_INPUT_FILE": "A file of inputs cannot be read.",
    "INVALID_LOCK": "nnpm.lock is malformed or newer than this nnpm.",
    "INVALID_MANIFEST": "A package's manifest is malformed; the violations name the fields.",
    "INVALID_MODEL_FILE": "The model's file cannot be read as what it claims to be.",
    "INVALID_NAMESPACE": "A namespace is not in the grammar of names.",
    "INVALID_PACKAGE_NAME": "A package name is not namespace/name in the grammar of names.",
    "INVALID_PATH": "A path in a package is absolute, leaves the package or is not portable.",
    "INVALID_RANGE": "A range is not in npm's grammar.",
    "INVALID_SELECTOR": "What stands behind @ is neither a version, a range nor a tag.",
    "INVALID_SETTINGS": "A setting is missing or contradicts another; the message names it.",
    "INVALID_TAG": "A tag is not in the grammar of names, or reads as a version or range.",
    "INVALID_TENSOR": "A tensor given to infer does not fit the model.",
    "INVALID_VERSION": "A version is not SemVer 2.0.",
    "LISTEN_NOT_LOOPBACK": "A listen address other than loopback needs TLS, or `insecure` in so many words.",
    "MALFORMED_REQUEST": "The request's bytes are not the protobuf message that the method takes.",
    "MESSAGE_TOO_LARGE": "A message is larger than the limit of the connection.",
    "METHOD_NOT_FOUND": "The server does not offer that method.",
    "SERVER_STOPPING": "The server is shutting down; another, or the same one later, will answer.",
    "SERVER_UNREACHABLE": "No connection to the server could be made, or it broke.",
    "UPLOAD_CHANGED": "A file changed while it was read for the upload.",
}
