#!/usr/bin/env bash
# HAPI FHIR 8.8.0 (Maven, parsers of R4): a text of several lines is one line after XML.
#
# Why a laboratory meets it: cultures, smears and comments come as tables of lines in valueString or note. A server keeps
# them; a reader asks for XML (Accept: application/fhir+xml), or a file of XML is stored and read again later.
# A good guess: the same text. XML can hold a line end in an attribute, written &#10;.
# Seen: HAPI writes the line end itself, unescaped, within the attribute, and each XML reader (its own, too) makes a
# blank of it, as XML demands. "R" of one drug and the name of the next stand on one line; columns that were made with tabs
# are gone. By JSON the same resource keeps all. No warning.
# Standard: FHIR R4, 2.24.0.1 (string: may hold tab, LF, CR, which are part of the value) and 2.6.1 (xml.html: values are
# attributes); XML 1.0, 3.3.3: a literal white space character of an attribute is read as a blank, only a reference such
# as &#10; survives.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>xml-lines</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>ca.uhn.hapi.fhir</groupId><artifactId>hapi-fhir-structures-r4</artifactId><version>8.8.0</version></dependency>
  </dependencies>
</project>
XML
mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib > mvn.log 2>&1 || { cat mvn.log >&2; exit 2; }

cat > Lines.java <<'JAVA'
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.IParser;
import org.hl7.fhir.r4.model.Observation;

public class Lines {
  static String shown(String text) {
    return text.replace("\n", "<LF>").replace("\t", "<TAB>");
  }

  public static void main(String[] arguments) {
    FhirContext context = FhirContext.forR4();
    IParser json = context.newJsonParser();
    IParser xml = context.newXmlParser();
    Observation sent = json.parseResource(Observation.class,
        "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"Culture\"},"
        + "\"valueString\":\"Amikacin\\t<=2\\tS\\nAmpicillin\\t>=32\\tR\"}");
    String written = xml.encodeResourceToString(sent);
    String value = written.substring(written.indexOf("<valueString"), written.indexOf("</valueString"));
    Observation byXml = xml.parseResource(Observation.class, written);
    Observation byJson = json.parseResource(Observation.class, json.encodeResourceToString(sent));
    System.out.println("xml:          " + shown(value));
    System.out.println("read by xml:  " + shown(byXml.getValueStringType().getValue()));
    System.out.println("read by json: " + shown(byJson.getValueStringType().getValue()));
  }
}
JAVA
javac -cp 'lib/*' Lines.java
seen=$(java -cp 'lib/*:.' Lines 2> java.log) || { cat java.log >&2; exit 2; }
echo "$seen"
expected='xml:          <valueString value="Amikacin<TAB>&lt;=2<TAB>S<LF>Ampicillin<TAB>&gt;=32<TAB>R">
read by xml:  Amikacin <=2 S Ampicillin >=32 R
read by json: Amikacin<TAB><=2<TAB>S<LF>Ampicillin<TAB>>=32<TAB>R'
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
