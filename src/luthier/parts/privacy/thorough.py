"""The thorough path: our rules, then whatever presidio-analyzer finds in the places that are left.

One decision: presidio runs over a blank spaCy pipeline, so no model is needed and nothing is fetched (its look-up of
public suffixes is answered from the list inside the package); names are therefore ours alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.core.errors import MachineError
from luthier.parts.privacy.find import STRUCTURED, find_values
from luthier.parts.privacy.rule import Kind, Value

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer

_KINDS: dict[str, Kind] = {
    "EMAIL_ADDRESS": "e-mail address",
    "CREDIT_CARD": "card number",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP address",
    "MAC_ADDRESS": "MAC address",
    "PHONE_NUMBER": "phone number",
    "US_SSN": "SSN",
    "US_PASSPORT": "passport",
    "UK_POSTCODE": "postal code",
    "UK_NHS": "national id",
    "UK_NINO": "national id",
    "ES_NIF": "national id",
    "ES_NIE": "national id",
    "IT_FISCAL_CODE": "national id",
    "PL_PESEL": "national id",
    "FI_PERSONAL_IDENTITY_CODE": "national id",
    "SE_PERSONNUMMER": "national id",
    "IN_AADHAAR": "national id",
    "IN_PAN": "national id",
    "CA_SIN": "national id",
    "AU_TFN": "national id",
}
_RECOGNISERS = (
    "CreditCard Iban Ip MacAddress Phone UsSsn UsPassport UkPostcode Nhs UkNino EsNif EsNie ItFiscalCode PlPesel FiPersonalIdentityCode"
    " SePersonnummer InAadhaar InPan CaSin AuTfn"
)


class Thorough:
    """Finds personal data by both; building it takes seconds, a text some milliseconds.

    min_score: presidio's confidence from 0 to 1 below which a finding is left out (0.5: a checksum or a context word).
    Raises MachineError where presidio-analyzer is not installed.
    """

    def __init__(self, min_score: float = 0.5) -> None:
        self.min_score = min_score
        self._engine = _engine()

    def __call__(self, text: str, kinds: tuple[Kind, ...] = STRUCTURED) -> list[Value]:
        """Values of `kinds`, in order, none overlapping another; where both found one, ours counts."""
        ours = find_values(text, kinds)
        taken = bytearray(len(text))
        for value in ours:
            taken[value.start : value.end] = b"\1" * (value.end - value.start)
        for value in self.presidio(text):
            if value.kind in kinds and taken.find(1, value.start, value.end) < 0:
                taken[value.start : value.end] = b"\1" * (value.end - value.start)
                ours.append(value)
        return sorted(ours, key=lambda value: value.start)

    def presidio(self, text: str) -> list[Value]:
        """What presidio alone finds, the surest first where two overlap."""
        results = self._engine.analyze(text, language="en", score_threshold=self.min_score)
        taken, found = bytearray(len(text)), []
        for result in sorted(results, key=lambda r: (-r.score, r.start)):
            kind = _KINDS.get(result.entity_type)
            if kind and taken.find(1, result.start, result.end) < 0:
                taken[result.start : result.end] = b"\1" * (result.end - result.start)
                found.append(Value(kind, result.start, result.end))
        return sorted(found, key=lambda value: value.start)


def _engine() -> AnalyzerEngine:
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError:
        raise MachineError("the thorough search needs presidio-analyzer: pip install 'luthier[pii]'") from None

    class Blank(SpacyNlpEngine):
        """Tokens only: no model is loaded or fetched."""

        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}

    engine = Blank()
    engine.load()
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.add_recognizer(_email_recogniser())
    for name in _RECOGNISERS.split():
        registry.add_recognizer(getattr(predefined_recognizers, f"{name}Recognizer")(supported_language="en"))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])


def _email_recogniser() -> EntityRecognizer:
    """Presidio's recogniser with the suffix list that is inside tldextract: nothing is fetched."""
    import tldextract
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Offline(EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            return extract(pattern_text).fqdn != ""

    return Offline()
