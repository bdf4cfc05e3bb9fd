"""A certificate authority of a test's own."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def authority(
    folder: Path, *names: str, valid: tuple[float, float] = (-1, 1)
) -> tuple[bytes, ssl.SSLContext]:
    """A new authority's certificate in PEM, and what serves with one that it signed for `names`,
    which are hosts and addresses; that certificate and its key are in `folder`/served.pem. It is
    `valid` from the one day to the other, counted from now."""
    signer, key = _key(), _key()
    ca = _certificate("Test CA", signer, None, signer, (-30, 365), ca=True).sign(
        signer, hashes.SHA256()
    )
    served = _certificate(names[0], key, names, signer, valid).sign(signer, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "served.pem"
    file.write_bytes(served.public_bytes(pem) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return ca.public_bytes(pem), context


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...] | None,
    signer: ec.EllipticCurvePrivateKey,
    valid: tuple[float, float] = (-1, 1),
    ca: bool = False,
) -> x509.CertificateBuilder:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("Test CA"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=valid[0]))
        .not_valid_after(now + timedelta(days=valid[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names is None:
        return builder
    return builder.add_extension(
        x509.SubjectAlternativeName([_general(one) for one in names]), critical=False
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
