"""FHIR R4 (4.0.1): the elements of what LabRelay writes. Made by tools/generate_r4_tables.py; do not edit.

Source: the StructureDefinitions and value sets of the FHIR R4 specification (HL7, CC0). Used where mappings are
compiled and checked, never for a message.

A line of the table: element, type, cardinality, then `value[x]` where it is one of a choice, then `=name` for a
required binding. A backbone element is a type of its own, named by its path (`Observation.component`).
"""

from typing import NamedTuple


class Element(NamedTuple):
    """One element of a resource or data type.

    Attributes:
        type: a data type, a primitive (`code`, `dateTime`), `Reference`, `Resource`, or a path such as
            `Observation.component`: always a key of `ELEMENTS`, of `PRIMITIVES`, or `Resource`.
        many: the cardinality ends in `*`, so JSON has a list.
        required: at least one; for a choice: one of the elements with the same ``choice``.
        choice: `value` for `valueQuantity`; empty where there is no choice.
        binding: key of `CODES` whose codes are the only ones allowed; empty where there is none.
        targets: types that a Reference may point to; empty means any.
    """

    type: str
    many: bool
    required: bool
    choice: str = ""
    binding: str = ""
    targets: tuple[str, ...] = ()


PRIMITIVES = frozenset(
    {
        "base64Binary",
        "boolean",
        "canonical",
        "code",
        "date",
        "dateTime",
        "decimal",
        "id",
        "instant",
        "integer",
        "markdown",
        "oid",
        "positiveInt",
        "string",
        "time",
        "unsignedInt",
        "uri",
        "url",
        "uuid",
        "xhtml",
    }
)
RESOURCES = frozenset(
    {
        "Binary",
        "Bundle",
        "Composition",
        "Device",
        "DiagnosticReport",
        "DocumentReference",
        "Encounter",
        "Location",
        "Media",
        "MessageHeader",
        "Observation",
        "OperationOutcome",
        "Organization",
        "Patient",
        "Practitioner",
        "PractitionerRole",
        "Provenance",
        "ServiceRequest",
        "Specimen",
        "Task",
    }
)

_TABLE = """
Address
  id string 0..1
  extension Extension 0..*
  use code 0..1 =address-use
  type code 0..1 =address-type
  text string 0..1
  line string 0..*
  city string 0..1
  district string 0..1
  state string 0..1
  postalCode string 0..1
  country string 0..1
  period Period 0..1
Age
  id string 0..1
  extension Extension 0..*
  value decimal 0..1
  comparator code 0..1 =quantity-comparator
  unit string 0..1
  system uri 0..1
  code code 0..1
Annotation
  id string 0..1
  extension Extension 0..*
  authorReference Reference(Practitioner|Patient|RelatedPerson|Organization) 0..1 author[x]
  authorString string 0..1 author[x]
  time dateTime 0..1
  text markdown 1..1
Attachment
  id string 0..1
  extension Extension 0..*
  contentType code 0..1
  language code 0..1
  data base64Binary 0..1
  url url 0..1
  size unsignedInt 0..1
  hash base64Binary 0..1
  title string 0..1
  creation dateTime 0..1
Binary
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  contentType code 1..1
  securityContext Reference 0..1
  data base64Binary 0..1
Bundle
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  identifier Identifier 0..1
  type code 1..1 =bundle-type
  timestamp instant 0..1
  total unsignedInt 0..1
  link Bundle.link 0..*
  entry Bundle.entry 0..*
  signature Signature 0..1
Bundle.entry
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  link Bundle.link 0..*
  fullUrl uri 0..1
  resource Resource 0..1
  search Bundle.entry.search 0..1
  request Bundle.entry.request 0..1
  response Bundle.entry.response 0..1
Bundle.entry.request
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  method code 1..1 =http-verb
  url uri 1..1
  ifNoneMatch string 0..1
  ifModifiedSince instant 0..1
  ifMatch string 0..1
  ifNoneExist string 0..1
Bundle.entry.response
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  status string 1..1
  location uri 0..1
  etag string 0..1
  lastModified instant 0..1
  outcome OperationOutcome 0..1
Bundle.entry.search
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  mode code 0..1 =search-entry-mode
  score decimal 0..1
Bundle.link
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  relation string 1..1
  url uri 1..1
CodeableConcept
  id string 0..1
  extension Extension 0..*
  coding Coding 0..*
  text string 0..1
Coding
  id string 0..1
  extension Extension 0..*
  system uri 0..1
  version string 0..1
  code code 0..1
  display string 0..1
  userSelected boolean 0..1
Composition
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..1
  status code 1..1 =composition-status
  type CodeableConcept 1..1
  category CodeableConcept 0..*
  subject Reference 0..1
  encounter Reference(Encounter) 0..1
  date dateTime 1..1
  author Reference(Practitioner|PractitionerRole|Device|Patient|RelatedPerson|Organization) 1..*
  title string 1..1
  confidentiality code 0..1 =v3-ConfidentialityClassification
  attester Composition.attester 0..*
  custodian Reference(Organization) 0..1
  relatesTo Composition.relatesTo 0..*
  event Composition.event 0..*
  section Composition.section 0..*
Composition.attester
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  mode code 1..1 =composition-attestation-mode
  time dateTime 0..1
  party Reference(Patient|RelatedPerson|Practitioner|PractitionerRole|Organization) 0..1
Composition.event
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  code CodeableConcept 0..*
  period Period 0..1
  detail Reference 0..*
Composition.relatesTo
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  code code 1..1 =document-relationship-type
  targetIdentifier Identifier 1..1 target[x]
  targetReference Reference(Composition) 1..1 target[x]
Composition.section
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  title string 0..1
  code CodeableConcept 0..1
  author Reference(Practitioner|PractitionerRole|Device|Patient|RelatedPerson|Organization) 0..*
  focus Reference 0..1
  text Narrative 0..1
  mode code 0..1 =list-mode
  orderedBy CodeableConcept 0..1
  entry Reference 0..*
  emptyReason CodeableConcept 0..1
  section Composition.section 0..*
ContactDetail
  id string 0..1
  extension Extension 0..*
  name string 0..1
  telecom ContactPoint 0..*
ContactPoint
  id string 0..1
  extension Extension 0..*
  system code 0..1 =contact-point-system
  value string 0..1
  use code 0..1 =contact-point-use
  rank positiveInt 0..1
  period Period 0..1
Count
  id string 0..1
  extension Extension 0..*
  value decimal 0..1
  comparator code 0..1 =quantity-comparator
  unit string 0..1
  system uri 0..1
  code code 0..1
Device
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  definition Reference(DeviceDefinition) 0..1
  udiCarrier Device.udiCarrier 0..*
  status code 0..1 =device-status
  statusReason CodeableConcept 0..*
  distinctIdentifier string 0..1
  manufacturer string 0..1
  manufactureDate dateTime 0..1
  expirationDate dateTime 0..1
  lotNumber string 0..1
  serialNumber string 0..1
  deviceName Device.deviceName 0..*
  modelNumber string 0..1
  partNumber string 0..1
  type CodeableConcept 0..1
  specialization Device.specialization 0..*
  version Device.version 0..*
  property Device.property 0..*
  patient Reference(Patient) 0..1
  owner Reference(Organization) 0..1
  contact ContactPoint 0..*
  location Reference(Location) 0..1
  url uri 0..1
  note Annotation 0..*
  safety CodeableConcept 0..*
  parent Reference(Device) 0..1
Device.deviceName
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  name string 1..1
  type code 1..1 =device-nametype
Device.property
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  type CodeableConcept 1..1
  valueQuantity Quantity 0..*
  valueCode CodeableConcept 0..*
Device.specialization
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  systemType CodeableConcept 1..1
  version string 0..1
Device.udiCarrier
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  deviceIdentifier string 0..1
  issuer uri 0..1
  jurisdiction uri 0..1
  carrierAIDC base64Binary 0..1
  carrierHRF string 0..1
  entryType code 0..1 =udi-entry-type
Device.version
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  type CodeableConcept 0..1
  component Identifier 0..1
  value string 1..1
DiagnosticReport
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  basedOn Reference(CarePlan|ImmunizationRecommendation|MedicationRequest|NutritionOrder|ServiceRequest) 0..*
  status code 1..1 =diagnostic-report-status
  category CodeableConcept 0..*
  code CodeableConcept 1..1
  subject Reference(Patient|Group|Device|Location) 0..1
  encounter Reference(Encounter) 0..1
  effectiveDateTime dateTime 0..1 effective[x]
  effectivePeriod Period 0..1 effective[x]
  issued instant 0..1
  performer Reference(Practitioner|PractitionerRole|Organization|CareTeam) 0..*
  resultsInterpreter Reference(Practitioner|PractitionerRole|Organization|CareTeam) 0..*
  specimen Reference(Specimen) 0..*
  result Reference(Observation) 0..*
  imagingStudy Reference(ImagingStudy) 0..*
  media DiagnosticReport.media 0..*
  conclusion string 0..1
  conclusionCode CodeableConcept 0..*
  presentedForm Attachment 0..*
DiagnosticReport.media
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  comment string 0..1
  link Reference(Media) 1..1
Distance
  id string 0..1
  extension Extension 0..*
  value decimal 0..1
  comparator code 0..1 =quantity-comparator
  unit string 0..1
  system uri 0..1
  code code 0..1
DocumentReference
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  masterIdentifier Identifier 0..1
  identifier Identifier 0..*
  status code 1..1 =document-reference-status
  docStatus code 0..1 =composition-status
  type CodeableConcept 0..1
  category CodeableConcept 0..*
  subject Reference(Patient|Practitioner|Group|Device) 0..1
  date instant 0..1
  author Reference(Practitioner|PractitionerRole|Organization|Device|Patient|RelatedPerson) 0..*
  authenticator Reference(Practitioner|PractitionerRole|Organization) 0..1
  custodian Reference(Organization) 0..1
  relatesTo DocumentReference.relatesTo 0..*
  description string 0..1
  securityLabel CodeableConcept 0..*
  content DocumentReference.content 1..*
  context DocumentReference.context 0..1
DocumentReference.content
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  attachment Attachment 1..1
  format Coding 0..1
DocumentReference.context
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  encounter Reference(Encounter|EpisodeOfCare) 0..*
  event CodeableConcept 0..*
  period Period 0..1
  facilityType CodeableConcept 0..1
  practiceSetting CodeableConcept 0..1
  sourcePatientInfo Reference(Patient) 0..1
  related Reference 0..*
DocumentReference.relatesTo
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  code code 1..1 =document-relationship-type
  target Reference(DocumentReference) 1..1
Duration
  id string 0..1
  extension Extension 0..*
  value decimal 0..1
  comparator code 0..1 =quantity-comparator
  unit string 0..1
  system uri 0..1
  code code 0..1
Encounter
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  status code 1..1 =encounter-status
  statusHistory Encounter.statusHistory 0..*
  class Coding 1..1
  classHistory Encounter.classHistory 0..*
  type CodeableConcept 0..*
  serviceType CodeableConcept 0..1
  priority CodeableConcept 0..1
  subject Reference(Patient|Group) 0..1
  episodeOfCare Reference(EpisodeOfCare) 0..*
  basedOn Reference(ServiceRequest) 0..*
  participant Encounter.participant 0..*
  appointment Reference(Appointment) 0..*
  period Period 0..1
  length Duration 0..1
  reasonCode CodeableConcept 0..*
  reasonReference Reference(Condition|Procedure|Observation|ImmunizationRecommendation) 0..*
  diagnosis Encounter.diagnosis 0..*
  account Reference(Account) 0..*
  hospitalization Encounter.hospitalization 0..1
  location Encounter.location 0..*
  serviceProvider Reference(Organization) 0..1
  partOf Reference(Encounter) 0..1
Encounter.classHistory
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  class Coding 1..1
  period Period 1..1
Encounter.diagnosis
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  condition Reference(Condition|Procedure) 1..1
  use CodeableConcept 0..1
  rank positiveInt 0..1
Encounter.hospitalization
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  preAdmissionIdentifier Identifier 0..1
  origin Reference(Location|Organization) 0..1
  admitSource CodeableConcept 0..1
  reAdmission CodeableConcept 0..1
  dietPreference CodeableConcept 0..*
  specialCourtesy CodeableConcept 0..*
  specialArrangement CodeableConcept 0..*
  destination Reference(Location|Organization) 0..1
  dischargeDisposition CodeableConcept 0..1
Encounter.location
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  location Reference(Location) 1..1
  status code 0..1 =encounter-location-status
  physicalType CodeableConcept 0..1
  period Period 0..1
Encounter.participant
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  type CodeableConcept 0..*
  period Period 0..1
  individual Reference(Practitioner|PractitionerRole|RelatedPerson) 0..1
Encounter.statusHistory
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  status code 1..1 =encounter-status
  period Period 1..1
Extension
  id string 0..1
  extension Extension 0..*
  url string 1..1
  valueBase64Binary base64Binary 0..1 value[x]
  valueBoolean boolean 0..1 value[x]
  valueCanonical canonical 0..1 value[x]
  valueCode code 0..1 value[x]
  valueDate date 0..1 value[x]
  valueDateTime dateTime 0..1 value[x]
  valueDecimal decimal 0..1 value[x]
  valueId id 0..1 value[x]
  valueInstant instant 0..1 value[x]
  valueInteger integer 0..1 value[x]
  valueMarkdown markdown 0..1 value[x]
  valueOid oid 0..1 value[x]
  valuePositiveInt positiveInt 0..1 value[x]
  valueString string 0..1 value[x]
  valueTime time 0..1 value[x]
  valueUnsignedInt unsignedInt 0..1 value[x]
  valueUri uri 0..1 value[x]
  valueUrl url 0..1 value[x]
  valueUuid uuid 0..1 value[x]
  valueAddress Address 0..1 value[x]
  valueAge Age 0..1 value[x]
  valueAnnotation Annotation 0..1 value[x]
  valueAttachment Attachment 0..1 value[x]
  valueCodeableConcept CodeableConcept 0..1 value[x]
  valueCoding Coding 0..1 value[x]
  valueContactPoint ContactPoint 0..1 value[x]
  valueCount Count 0..1 value[x]
  valueDistance Distance 0..1 value[x]
  valueDuration Duration 0..1 value[x]
  valueHumanName HumanName 0..1 value[x]
  valueIdentifier Identifier 0..1 value[x]
  valueMoney Money 0..1 value[x]
  valuePeriod Period 0..1 value[x]
  valueQuantity Quantity 0..1 value[x]
  valueRange Range 0..1 value[x]
  valueRatio Ratio 0..1 value[x]
  valueReference Reference 0..1 value[x]
  valueSampledData SampledData 0..1 value[x]
  valueSignature Signature 0..1 value[x]
  valueTiming Timing 0..1 value[x]
  valueContactDetail ContactDetail 0..1 value[x]
  valueMeta Meta 0..1 value[x]
HumanName
  id string 0..1
  extension Extension 0..*
  use code 0..1 =name-use
  text string 0..1
  family string 0..1
  given string 0..*
  prefix string 0..*
  suffix string 0..*
  period Period 0..1
Identifier
  id string 0..1
  extension Extension 0..*
  use code 0..1 =identifier-use
  type CodeableConcept 0..1
  system uri 0..1
  value string 0..1
  period Period 0..1
  assigner Reference(Organization) 0..1
Location
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  status code 0..1 =location-status
  operationalStatus Coding 0..1
  name string 0..1
  alias string 0..*
  description string 0..1
  mode code 0..1 =location-mode
  type CodeableConcept 0..*
  telecom ContactPoint 0..*
  address Address 0..1
  physicalType CodeableConcept 0..1
  position Location.position 0..1
  managingOrganization Reference(Organization) 0..1
  partOf Reference(Location) 0..1
  hoursOfOperation Location.hoursOfOperation 0..*
  availabilityExceptions string 0..1
  endpoint Reference(Endpoint) 0..*
Location.hoursOfOperation
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  daysOfWeek code 0..* =days-of-week
  allDay boolean 0..1
  openingTime time 0..1
  closingTime time 0..1
Location.position
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  longitude decimal 1..1
  latitude decimal 1..1
  altitude decimal 0..1
Media
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  basedOn Reference(ServiceRequest|CarePlan) 0..*
  partOf Reference 0..*
  status code 1..1 =event-status
  type CodeableConcept 0..1
  modality CodeableConcept 0..1
  view CodeableConcept 0..1
  subject Reference(Patient|Practitioner|PractitionerRole|Group|Device|Specimen|Location) 0..1
  encounter Reference(Encounter) 0..1
  createdDateTime dateTime 0..1 created[x]
  createdPeriod Period 0..1 created[x]
  issued instant 0..1
  operator Reference(Practitioner|PractitionerRole|Organization|CareTeam|Patient|Device|RelatedPerson) 0..1
  reasonCode CodeableConcept 0..*
  bodySite CodeableConcept 0..1
  deviceName string 0..1
  device Reference(Device|DeviceMetric|Device) 0..1
  height positiveInt 0..1
  width positiveInt 0..1
  frames positiveInt 0..1
  duration decimal 0..1
  content Attachment 1..1
  note Annotation 0..*
MessageHeader
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  eventCoding Coding 1..1 event[x]
  eventUri uri 1..1 event[x]
  destination MessageHeader.destination 0..*
  sender Reference(Practitioner|PractitionerRole|Organization) 0..1
  enterer Reference(Practitioner|PractitionerRole) 0..1
  author Reference(Practitioner|PractitionerRole) 0..1
  source MessageHeader.source 1..1
  responsible Reference(Practitioner|PractitionerRole|Organization) 0..1
  reason CodeableConcept 0..1
  response MessageHeader.response 0..1
  focus Reference 0..*
  definition canonical 0..1
MessageHeader.destination
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  name string 0..1
  target Reference(Device) 0..1
  endpoint url 1..1
  receiver Reference(Practitioner|PractitionerRole|Organization) 0..1
MessageHeader.response
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier id 1..1
  code code 1..1 =response-code
  details Reference(OperationOutcome) 0..1
MessageHeader.source
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  name string 0..1
  software string 0..1
  version string 0..1
  contact ContactPoint 0..1
  endpoint url 1..1
Meta
  id string 0..1
  extension Extension 0..*
  versionId id 0..1
  lastUpdated instant 0..1
  source uri 0..1
  profile canonical 0..*
  security Coding 0..*
  tag Coding 0..*
Money
  id string 0..1
  extension Extension 0..*
  value decimal 0..1
  currency code 0..1
Narrative
  id string 0..1
  extension Extension 0..*
  status code 1..1 =narrative-status
  div xhtml 1..1
Observation
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  basedOn Reference(CarePlan|DeviceRequest|ImmunizationRecommendation|MedicationRequest|NutritionOrder|ServiceRequest) 0..*
  partOf Reference(MedicationAdministration|MedicationDispense|MedicationStatement|Procedure|Immunization|ImagingStudy) 0..*
  status code 1..1 =observation-status
  category CodeableConcept 0..*
  code CodeableConcept 1..1
  subject Reference(Patient|Group|Device|Location) 0..1
  focus Reference 0..*
  encounter Reference(Encounter) 0..1
  effectiveDateTime dateTime 0..1 effective[x]
  effectivePeriod Period 0..1 effective[x]
  effectiveTiming Timing 0..1 effective[x]
  effectiveInstant instant 0..1 effective[x]
  issued instant 0..1
  performer Reference(Practitioner|PractitionerRole|Organization|CareTeam|Patient|RelatedPerson) 0..*
  valueQuantity Quantity 0..1 value[x]
  valueCodeableConcept CodeableConcept 0..1 value[x]
  valueString string 0..1 value[x]
  valueBoolean boolean 0..1 value[x]
  valueInteger integer 0..1 value[x]
  valueRange Range 0..1 value[x]
  valueRatio Ratio 0..1 value[x]
  valueSampledData SampledData 0..1 value[x]
  valueTime time 0..1 value[x]
  valueDateTime dateTime 0..1 value[x]
  valuePeriod Period 0..1 value[x]
  dataAbsentReason CodeableConcept 0..1
  interpretation CodeableConcept 0..*
  note Annotation 0..*
  bodySite CodeableConcept 0..1
  method CodeableConcept 0..1
  specimen Reference(Specimen) 0..1
  device Reference(Device|DeviceMetric) 0..1
  referenceRange Observation.referenceRange 0..*
  hasMember Reference(Observation|QuestionnaireResponse|MolecularSequence) 0..*
  derivedFrom Reference(DocumentReference|ImagingStudy|Media|QuestionnaireResponse|Observation|MolecularSequence) 0..*
  component Observation.component 0..*
Observation.component
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  code CodeableConcept 1..1
  valueQuantity Quantity 0..1 value[x]
  valueCodeableConcept CodeableConcept 0..1 value[x]
  valueString string 0..1 value[x]
  valueBoolean boolean 0..1 value[x]
  valueInteger integer 0..1 value[x]
  valueRange Range 0..1 value[x]
  valueRatio Ratio 0..1 value[x]
  valueSampledData SampledData 0..1 value[x]
  valueTime time 0..1 value[x]
  valueDateTime dateTime 0..1 value[x]
  valuePeriod Period 0..1 value[x]
  dataAbsentReason CodeableConcept 0..1
  interpretation CodeableConcept 0..*
  referenceRange Observation.referenceRange 0..*
Observation.referenceRange
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  low Quantity 0..1
  high Quantity 0..1
  type CodeableConcept 0..1
  appliesTo CodeableConcept 0..*
  age Range 0..1
  text string 0..1
OperationOutcome
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  issue OperationOutcome.issue 1..*
OperationOutcome.issue
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  severity code 1..1 =issue-severity
  code code 1..1 =issue-type
  details CodeableConcept 0..1
  diagnostics string 0..1
  location string 0..*
  expression string 0..*
Organization
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  active boolean 0..1
  type CodeableConcept 0..*
  name string 0..1
  alias string 0..*
  telecom ContactPoint 0..*
  address Address 0..*
  partOf Reference(Organization) 0..1
  contact Organization.contact 0..*
  endpoint Reference(Endpoint) 0..*
Organization.contact
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  purpose CodeableConcept 0..1
  name HumanName 0..1
  telecom ContactPoint 0..*
  address Address 0..1
Patient
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  active boolean 0..1
  name HumanName 0..*
  telecom ContactPoint 0..*
  gender code 0..1 =administrative-gender
  birthDate date 0..1
  deceasedBoolean boolean 0..1 deceased[x]
  deceasedDateTime dateTime 0..1 deceased[x]
  address Address 0..*
  maritalStatus CodeableConcept 0..1
  multipleBirthBoolean boolean 0..1 multipleBirth[x]
  multipleBirthInteger integer 0..1 multipleBirth[x]
  photo Attachment 0..*
  contact Patient.contact 0..*
  communication Patient.communication 0..*
  generalPractitioner Reference(Organization|Practitioner|PractitionerRole) 0..*
  managingOrganization Reference(Organization) 0..1
  link Patient.link 0..*
Patient.communication
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  language CodeableConcept 1..1
  preferred boolean 0..1
Patient.contact
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  relationship CodeableConcept 0..*
  name HumanName 0..1
  telecom ContactPoint 0..*
  address Address 0..1
  gender code 0..1 =administrative-gender
  organization Reference(Organization) 0..1
  period Period 0..1
Patient.link
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  other Reference(Patient|RelatedPerson) 1..1
  type code 1..1 =link-type
Period
  id string 0..1
  extension Extension 0..*
  start dateTime 0..1
  end dateTime 0..1
Practitioner
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  active boolean 0..1
  name HumanName 0..*
  telecom ContactPoint 0..*
  address Address 0..*
  gender code 0..1 =administrative-gender
  birthDate date 0..1
  photo Attachment 0..*
  qualification Practitioner.qualification 0..*
  communication CodeableConcept 0..*
Practitioner.qualification
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  code CodeableConcept 1..1
  period Period 0..1
  issuer Reference(Organization) 0..1
PractitionerRole
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  active boolean 0..1
  period Period 0..1
  practitioner Reference(Practitioner) 0..1
  organization Reference(Organization) 0..1
  code CodeableConcept 0..*
  specialty CodeableConcept 0..*
  location Reference(Location) 0..*
  healthcareService Reference(HealthcareService) 0..*
  telecom ContactPoint 0..*
  availableTime PractitionerRole.availableTime 0..*
  notAvailable PractitionerRole.notAvailable 0..*
  availabilityExceptions string 0..1
  endpoint Reference(Endpoint) 0..*
PractitionerRole.availableTime
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  daysOfWeek code 0..* =days-of-week
  allDay boolean 0..1
  availableStartTime time 0..1
  availableEndTime time 0..1
PractitionerRole.notAvailable
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  description string 1..1
  during Period 0..1
Provenance
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  target Reference 1..*
  occurredPeriod Period 0..1 occurred[x]
  occurredDateTime dateTime 0..1 occurred[x]
  recorded instant 1..1
  policy uri 0..*
  location Reference(Location) 0..1
  reason CodeableConcept 0..*
  activity CodeableConcept 0..1
  agent Provenance.agent 1..*
  entity Provenance.entity 0..*
  signature Signature 0..*
Provenance.agent
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  type CodeableConcept 0..1
  role CodeableConcept 0..*
  who Reference(Practitioner|PractitionerRole|RelatedPerson|Patient|Device|Organization) 1..1
  onBehalfOf Reference(Practitioner|PractitionerRole|RelatedPerson|Patient|Device|Organization) 0..1
Provenance.entity
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  role code 1..1 =provenance-entity-role
  what Reference 1..1
  agent Provenance.agent 0..*
Quantity
  id string 0..1
  extension Extension 0..*
  value decimal 0..1
  comparator code 0..1 =quantity-comparator
  unit string 0..1
  system uri 0..1
  code code 0..1
Range
  id string 0..1
  extension Extension 0..*
  low Quantity 0..1
  high Quantity 0..1
Ratio
  id string 0..1
  extension Extension 0..*
  numerator Quantity 0..1
  denominator Quantity 0..1
Reference
  id string 0..1
  extension Extension 0..*
  reference string 0..1
  type uri 0..1
  identifier Identifier 0..1
  display string 0..1
SampledData
  id string 0..1
  extension Extension 0..*
  origin Quantity 1..1
  period decimal 1..1
  factor decimal 0..1
  lowerLimit decimal 0..1
  upperLimit decimal 0..1
  dimensions positiveInt 1..1
  data string 0..1
ServiceRequest
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  instantiatesCanonical canonical 0..*
  instantiatesUri uri 0..*
  basedOn Reference(CarePlan|ServiceRequest|MedicationRequest) 0..*
  replaces Reference(ServiceRequest) 0..*
  requisition Identifier 0..1
  status code 1..1 =request-status
  intent code 1..1 =request-intent
  category CodeableConcept 0..*
  priority code 0..1 =request-priority
  doNotPerform boolean 0..1
  code CodeableConcept 0..1
  orderDetail CodeableConcept 0..*
  quantityQuantity Quantity 0..1 quantity[x]
  quantityRatio Ratio 0..1 quantity[x]
  quantityRange Range 0..1 quantity[x]
  subject Reference(Patient|Group|Location|Device) 1..1
  encounter Reference(Encounter) 0..1
  occurrenceDateTime dateTime 0..1 occurrence[x]
  occurrencePeriod Period 0..1 occurrence[x]
  occurrenceTiming Timing 0..1 occurrence[x]
  asNeededBoolean boolean 0..1 asNeeded[x]
  asNeededCodeableConcept CodeableConcept 0..1 asNeeded[x]
  authoredOn dateTime 0..1
  requester Reference(Practitioner|PractitionerRole|Organization|Patient|RelatedPerson|Device) 0..1
  performerType CodeableConcept 0..1
  performer Reference(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService|Patient|Device|RelatedPerson) 0..*
  locationCode CodeableConcept 0..*
  locationReference Reference(Location) 0..*
  reasonCode CodeableConcept 0..*
  reasonReference Reference(Condition|Observation|DiagnosticReport|DocumentReference) 0..*
  insurance Reference(Coverage|ClaimResponse) 0..*
  supportingInfo Reference 0..*
  specimen Reference(Specimen) 0..*
  bodySite CodeableConcept 0..*
  note Annotation 0..*
  patientInstruction string 0..1
  relevantHistory Reference(Provenance) 0..*
Signature
  id string 0..1
  extension Extension 0..*
  type Coding 1..*
  when instant 1..1
  who Reference(Practitioner|PractitionerRole|RelatedPerson|Patient|Device|Organization) 1..1
  onBehalfOf Reference(Practitioner|PractitionerRole|RelatedPerson|Patient|Device|Organization) 0..1
  targetFormat code 0..1
  sigFormat code 0..1
  data base64Binary 0..1
Specimen
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  accessionIdentifier Identifier 0..1
  status code 0..1 =specimen-status
  type CodeableConcept 0..1
  subject Reference(Patient|Group|Device|Substance|Location) 0..1
  receivedTime dateTime 0..1
  parent Reference(Specimen) 0..*
  request Reference(ServiceRequest) 0..*
  collection Specimen.collection 0..1
  processing Specimen.processing 0..*
  container Specimen.container 0..*
  condition CodeableConcept 0..*
  note Annotation 0..*
Specimen.collection
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  collector Reference(Practitioner|PractitionerRole) 0..1
  collectedDateTime dateTime 0..1 collected[x]
  collectedPeriod Period 0..1 collected[x]
  duration Duration 0..1
  quantity Quantity 0..1
  method CodeableConcept 0..1
  bodySite CodeableConcept 0..1
  fastingStatusCodeableConcept CodeableConcept 0..1 fastingStatus[x]
  fastingStatusDuration Duration 0..1 fastingStatus[x]
Specimen.container
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  description string 0..1
  type CodeableConcept 0..1
  capacity Quantity 0..1
  specimenQuantity Quantity 0..1
  additiveCodeableConcept CodeableConcept 0..1 additive[x]
  additiveReference Reference(Substance) 0..1 additive[x]
Specimen.processing
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  description string 0..1
  procedure CodeableConcept 0..1
  additive Reference(Substance) 0..*
  timeDateTime dateTime 0..1 time[x]
  timePeriod Period 0..1 time[x]
Task
  id string 0..1
  meta Meta 0..1
  implicitRules uri 0..1
  language code 0..1
  text Narrative 0..1
  contained Resource 0..*
  extension Extension 0..*
  modifierExtension Extension 0..*
  identifier Identifier 0..*
  instantiatesCanonical canonical 0..1
  instantiatesUri uri 0..1
  basedOn Reference 0..*
  groupIdentifier Identifier 0..1
  partOf Reference(Task) 0..*
  status code 1..1 =task-status
  statusReason CodeableConcept 0..1
  businessStatus CodeableConcept 0..1
  intent code 1..1 =task-intent
  priority code 0..1 =request-priority
  code CodeableConcept 0..1
  description string 0..1
  focus Reference 0..1
  for Reference 0..1
  encounter Reference(Encounter) 0..1
  executionPeriod Period 0..1
  authoredOn dateTime 0..1
  lastModified dateTime 0..1
  requester Reference(Device|Organization|Patient|Practitioner|PractitionerRole|RelatedPerson) 0..1
  performerType CodeableConcept 0..*
  owner Reference(Practitioner|PractitionerRole|Organization|CareTeam|HealthcareService|Patient|Device|RelatedPerson) 0..1
  location Reference(Location) 0..1
  reasonCode CodeableConcept 0..1
  reasonReference Reference 0..1
  insurance Reference(Coverage|ClaimResponse) 0..*
  note Annotation 0..*
  relevantHistory Reference(Provenance) 0..*
  restriction Task.restriction 0..1
  input Task.input 0..*
  output Task.output 0..*
Task.input
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  type CodeableConcept 1..1
  valueBase64Binary base64Binary 1..1 value[x]
  valueBoolean boolean 1..1 value[x]
  valueCanonical canonical 1..1 value[x]
  valueCode code 1..1 value[x]
  valueDate date 1..1 value[x]
  valueDateTime dateTime 1..1 value[x]
  valueDecimal decimal 1..1 value[x]
  valueId id 1..1 value[x]
  valueInstant instant 1..1 value[x]
  valueInteger integer 1..1 value[x]
  valueMarkdown markdown 1..1 value[x]
  valueOid oid 1..1 value[x]
  valuePositiveInt positiveInt 1..1 value[x]
  valueString string 1..1 value[x]
  valueTime time 1..1 value[x]
  valueUnsignedInt unsignedInt 1..1 value[x]
  valueUri uri 1..1 value[x]
  valueUrl url 1..1 value[x]
  valueUuid uuid 1..1 value[x]
  valueAddress Address 1..1 value[x]
  valueAge Age 1..1 value[x]
  valueAnnotation Annotation 1..1 value[x]
  valueAttachment Attachment 1..1 value[x]
  valueCodeableConcept CodeableConcept 1..1 value[x]
  valueCoding Coding 1..1 value[x]
  valueContactPoint ContactPoint 1..1 value[x]
  valueCount Count 1..1 value[x]
  valueDistance Distance 1..1 value[x]
  valueDuration Duration 1..1 value[x]
  valueHumanName HumanName 1..1 value[x]
  valueIdentifier Identifier 1..1 value[x]
  valueMoney Money 1..1 value[x]
  valuePeriod Period 1..1 value[x]
  valueQuantity Quantity 1..1 value[x]
  valueRange Range 1..1 value[x]
  valueRatio Ratio 1..1 value[x]
  valueReference Reference 1..1 value[x]
  valueSampledData SampledData 1..1 value[x]
  valueSignature Signature 1..1 value[x]
  valueTiming Timing 1..1 value[x]
  valueContactDetail ContactDetail 1..1 value[x]
  valueMeta Meta 1..1 value[x]
Task.output
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  type CodeableConcept 1..1
  valueBase64Binary base64Binary 1..1 value[x]
  valueBoolean boolean 1..1 value[x]
  valueCanonical canonical 1..1 value[x]
  valueCode code 1..1 value[x]
  valueDate date 1..1 value[x]
  valueDateTime dateTime 1..1 value[x]
  valueDecimal decimal 1..1 value[x]
  valueId id 1..1 value[x]
  valueInstant instant 1..1 value[x]
  valueInteger integer 1..1 value[x]
  valueMarkdown markdown 1..1 value[x]
  valueOid oid 1..1 value[x]
  valuePositiveInt positiveInt 1..1 value[x]
  valueString string 1..1 value[x]
  valueTime time 1..1 value[x]
  valueUnsignedInt unsignedInt 1..1 value[x]
  valueUri uri 1..1 value[x]
  valueUrl url 1..1 value[x]
  valueUuid uuid 1..1 value[x]
  valueAddress Address 1..1 value[x]
  valueAge Age 1..1 value[x]
  valueAnnotation Annotation 1..1 value[x]
  valueAttachment Attachment 1..1 value[x]
  valueCodeableConcept CodeableConcept 1..1 value[x]
  valueCoding Coding 1..1 value[x]
  valueContactPoint ContactPoint 1..1 value[x]
  valueCount Count 1..1 value[x]
  valueDistance Distance 1..1 value[x]
  valueDuration Duration 1..1 value[x]
  valueHumanName HumanName 1..1 value[x]
  valueIdentifier Identifier 1..1 value[x]
  valueMoney Money 1..1 value[x]
  valuePeriod Period 1..1 value[x]
  valueQuantity Quantity 1..1 value[x]
  valueRange Range 1..1 value[x]
  valueRatio Ratio 1..1 value[x]
  valueReference Reference 1..1 value[x]
  valueSampledData SampledData 1..1 value[x]
  valueSignature Signature 1..1 value[x]
  valueTiming Timing 1..1 value[x]
  valueContactDetail ContactDetail 1..1 value[x]
  valueMeta Meta 1..1 value[x]
Task.restriction
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  repetitions positiveInt 0..1
  period Period 0..1
  recipient Reference(Patient|Practitioner|PractitionerRole|RelatedPerson|Group|Organization) 0..*
Timing
  id string 0..1
  extension Extension 0..*
  modifierExtension Extension 0..*
  event dateTime 0..*
  repeat Timing.repeat 0..1
  code CodeableConcept 0..1
Timing.repeat
  id string 0..1
  extension Extension 0..*
  boundsDuration Duration 0..1 bounds[x]
  boundsRange Range 0..1 bounds[x]
  boundsPeriod Period 0..1 bounds[x]
  count positiveInt 0..1
  countMax positiveInt 0..1
  duration decimal 0..1
  durationMax decimal 0..1
  durationUnit code 0..1 =units-of-time
  frequency positiveInt 0..1
  frequencyMax positiveInt 0..1
  period decimal 0..1
  periodMax decimal 0..1
  periodUnit code 0..1 =units-of-time
  dayOfWeek code 0..* =days-of-week
  timeOfDay time 0..*
  when code 0..* =event-timing
  offset unsignedInt 0..1
"""  # noqa: E501  (one element a line)

_CODES = """
address-type: both physical postal
address-use: billing home old temp work
administrative-gender: female male other unknown
bundle-type: batch batch-response collection document history message searchset transaction transaction-response
composition-attestation-mode: legal official personal professional
composition-status: amended entered-in-error final preliminary
contact-point-system: email fax other pager phone sms url
contact-point-use: home mobile old temp work
days-of-week: fri mon sat sun thu tue wed
device-nametype: manufacturer-name model-name other patient-reported-name udi-label-name user-friendly-name
device-status: active entered-in-error inactive unknown
diagnostic-report-status: amended appended cancelled corrected entered-in-error final partial preliminary registered unknown
document-reference-status: current entered-in-error superseded
document-relationship-type: appends replaces signs transforms
encounter-location-status: active completed planned reserved
encounter-status: arrived cancelled entered-in-error finished in-progress onleave planned triaged unknown
event-status: completed entered-in-error in-progress not-done on-hold preparation stopped unknown
event-timing: AC ACD ACM ACV AFT AFT.early AFT.late C CD CM CV EVE EVE.early EVE.late HS MORN MORN.early MORN.late NIGHT NOON PC PCD PCM PCV PHS WAKE
http-verb: DELETE GET HEAD PATCH POST PUT
identifier-use: official old secondary temp usual
issue-severity: error fatal information warning
issue-type: business-rule code-invalid conflict deleted duplicate exception expired extension forbidden incomplete informational invalid invariant lock-error login multiple-matches no-store not-found not-supported processing required security structure suppressed throttled timeout too-costly too-long transient unknown value
link-type: refer replaced-by replaces seealso
list-mode: changes snapshot working
location-mode: instance kind
location-status: active inactive suspended
name-use: anonymous maiden nickname official old temp usual
narrative-status: additional empty extensions generated
observation-status: amended cancelled corrected entered-in-error final preliminary registered unknown
provenance-entity-role: derivation quotation removal revision source
quantity-comparator: < <= > >=
request-intent: directive filler-order instance-order option order original-order plan proposal reflex-order
request-priority: asap routine stat urgent
request-status: active completed draft entered-in-error on-hold revoked unknown
response-code: fatal-error ok transient-error
search-entry-mode: include match outcome
specimen-status: available entered-in-error unavailable unsatisfactory
task-intent: filler-order instance-order option order original-order plan proposal reflex-order unknown
task-status: accepted cancelled completed draft entered-in-error failed in-progress on-hold ready received rejected requested
udi-entry-type: barcode card manual rfid self-reported unknown
units-of-time: a d h min mo s wk
v3-ConfidentialityClassification: L M N R U V
"""  # noqa: E501  (one value set a line)


def _read(table: str) -> dict[str, dict[str, Element]]:
    types: dict[str, dict[str, Element]] = {}
    elements: dict[str, Element] = {}
    for line in table.strip().splitlines():
        if not line.startswith(" "):
            elements = types[line] = {}
            continue
        name, kind, cardinality, *more = line.split()
        kind, _, targets = kind.rstrip(")").partition("(")
        choice = binding = ""
        for word in more:
            if word.startswith("="):
                binding = word[1:]
            else:
                choice = word.removesuffix("[x]")
        elements[name] = Element(
            type=kind,
            many=cardinality.endswith("*"),
            required=not cardinality.startswith("0"),
            choice=choice,
            binding=binding,
            targets=tuple(targets.split("|")) if targets else (),
        )
    return types


ELEMENTS: dict[str, dict[str, Element]] = _read(_TABLE)
CODES: dict[str, frozenset[str]] = {
    name: frozenset(codes.split()) for name, _, codes in (line.partition(":") for line in _CODES.strip().splitlines())
}
