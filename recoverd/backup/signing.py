"""Signatures of manifests: Ed25519. The key that signs is on no site; the one that verifies may be anywhere.

By hand: `openssl pkeyutl -verify -pubin -inkey PUBLIC.pem -rawin -in manifest.json -sigfile manifest.sig`
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from recoverd.errors import Invalid, Tampered


def sign(document: bytes, private_pem: str) -> bytes:
    """The signature of a document, 64 bytes. Raises Invalid when the key is none."""
    try:
        key = load_pem_private_key(private_pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise Invalid(
            f"the signing key cannot be read: {error}", "make one: openssl genpkey -algorithm ed25519"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid("the signing key is not an Ed25519 key", "make one: openssl genpkey -algorithm ed25519")
    return key.sign(document)


def verify(document: bytes, signature: bytes, public_pem: str, what: str) -> None:
    """See that the holder of the signing key signed just this.

    Args:
        document: What is to be believed.
        signature: 64 bytes.
        public_pem: The trusted key.
        what: What errors call the document.

    Raises:
        Tampered: It did not.
        Invalid: The key is none.
    """
    try:
        key = load_pem_public_key(public_pem.encode())
    except ValueError as error:
        raise Invalid(
            f"the trusted key cannot be read: {error}", "name the signing key's public half, as PEM"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise Invalid("the trusted key is not an Ed25519 key", "openssl pkey -in SIGNING.pem -pubout")
    try:
        key.verify(signature, document)
    except InvalidSignature:
        raise Tampered(
            f"the signature of {what} does not fit it", "take it from another site; `recoverd sites` compares them"
        ) from None


def read_trusted_key(path: Path) -> str:
    """The public key in a file. Raises Invalid when it cannot be read."""
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(
            f"the trusted key {path} cannot be read: {error}", "openssl pkey -in SIGNING.pem -pubout"
        ) from error
