"""Names the algorithms that are safe in XML signatures and encryption; nothing else is believed or opened."""

SAML, SAMLP = "{urn:oasis:names:tc:SAML:2.0:assertion}", "{urn:oasis:names:tc:SAML:2.0:protocol}"
DS, XENC = "{http://www.w3.org/2000/09/xmldsig#}", "{http://www.w3.org/2001/04/xmlenc#}"
IDS = ("ID", "{http://www.w3.org/XML/1998/namespace}id")  # attributes that a reference may mean
_MORE, _ENC, _ENC11 = (
    "http://www.w3.org/2001/04/xmldsig-more#",
    "http://www.w3.org/2001/04/xmlenc#",
    "http://www.w3.org/2009/xmlenc11#",
)
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
ELEMENT = f"{_ENC}Element"  # what an EncryptedData hides
ENCRYPTED_KEY = f"{_ENC}EncryptedKey"  # what a RetrievalMethod leads to
RSA_SHA256 = f"{_MORE}rsa-sha256"
SIGNATURES = frozenset(f"{_MORE}{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512))
DIGESTS = frozenset({f"{_ENC}sha256", f"{_MORE}sha384", f"{_ENC}sha512"})
CANONICALIZATIONS = frozenset({_EXCLUSIVE, f"{_EXCLUSIVE}WithComments"})
KEY_DIGESTS = DIGESTS | {"http://www.w3.org/2000/09/xmldsig#sha1"}  # within RSA-OAEP, where SHA-1 is no weakness
CIPHERS = frozenset(
    {
        *(f"{_ENC}aes{bits}-cbc" for bits in (128, 192, 256)),
        *(f"{_ENC11}aes{bits}-gcm" for bits in (128, 192, 256)),
    }
)
KEY_TRANSPORTS = frozenset({f"{_ENC}rsa-oaep-mgf1p", f"{_ENC11}rsa-oaep"})
