"""The keys around backups: an authority and a certificate for S3 over TLS, S3 credentials, encryption, signatures."""

from __future__ import annotations

import ipaddress
import secrets
from datetime import datetime, timedelta, timezone

import pyrage
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from lab.layout import S3_HOST, Layout
from lab.machine import write_secret

VALID = timedelta(days=30)
KEY_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
S3_USAGE = {"digital_signature": True}
CA_USAGE = {"key_cert_sign": True, "crl_sign": True}


def make_backup_keys(layout: Layout) -> None:
    """Write all of them below the lab's state: secrets, and for TLS `tls/ca.pem`, `tls/s3.pem`, `tls/s3.key`."""
    write_secret(layout.secret("s3-access-key"), f"{secrets.token_hex(10).upper()}\n")
    write_secret(layout.secret("s3-secret-key"), f"{secrets.token_urlsafe(30)}\n")
    identity = pyrage.x25519.Identity.generate()
    write_secret(layout.secret("age-identity"), f"{identity}\n")
    write_secret(layout.secret("age-recipient"), f"{identity.to_public()}\n")
    signing = Ed25519PrivateKey.generate()
    write_secret(layout.secret("backup-signing.pem"), private_pem(signing))
    public = signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_secret(layout.secret("backup-signing.pub.pem"), public.decode())
    make_certificates(layout)


def make_certificates(layout: Layout) -> None:
    """The authority and the S3 server's certificate. The authority's own key is kept nowhere: it signs this one."""
    (layout.state / "tls").mkdir()
    ca_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    ca_name = name(f"authority of the lab {layout.name}")
    ca = certificate(ca_name, ca_key, ca_name, ca_key, CA_USAGE, path_length=0).sign(ca_key, hashes.SHA256())
    host = layout.hosts[S3_HOST]
    names = x509.SubjectAlternativeName([x509.DNSName(host.name), x509.IPAddress(ipaddress.ip_address(host.address))])
    leaf = certificate(name(host.name), key, ca_name, ca_key, S3_USAGE).add_extension(names, critical=False)
    layout.ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    (layout.state / "tls/s3.pem").write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    write_secret(layout.state / "tls/s3.key", private_pem(key))


def certificate(
    subject: x509.Name, key: EllipticCurvePrivateKey, issuer: x509.Name, issuer_key: EllipticCurvePrivateKey,
    usage: dict[str, bool], *, path_length: int | None = None,
) -> x509.CertificateBuilder:  # fmt: skip
    """A certificate to be signed, with all that strict verifiers (Python 3.13's among them) want to see in it.

    Args:
        usage: What its key may be used for.
        path_length: How many authorities may stand below it; None: it is none itself.
    """
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + VALID)
    limits = x509.BasicConstraints(ca=path_length is not None, path_length=path_length)
    builder = builder.add_extension(limits, critical=True).add_extension(key_usage(usage), critical=True)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return builder.add_extension(own, critical=False).add_extension(above, critical=False)


def key_usage(allowed: dict[str, bool]) -> x509.KeyUsage:
    """What a key may be used for: what is named, and nothing else."""
    return x509.KeyUsage(**{use: allowed.get(use, False) for use in KEY_USES})


def name(common: str) -> x509.Name:
    """A name that has only the common part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def private_pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> str:
    """A private key as openssl reads it, without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
