#!/usr/bin/env bash
# HAPI HL7v2 2.6.0 (Maven): a month is a day of the month before, a year is a day of the year before.
#
# Why a laboratory meets it: many patients have no birthday in the records, only a year or a month, and HL7 v2 lets
# PID-7 say just that. Programs around HAPI turn the field into a java.util.Date to work out an age or to fill a column.
# A good guess: the first moment of what is given (2026-01-01, 2026-03-01), or an exception.
# Seen: 2026 is 30 November 2025, 202603 is 28 February 2026, without an error or a log line. Month and day that were not
# sent count as 0, and the calendar rolls back. Age, age-dependent ranges and "born in" are wrong by up to 13 months, and
# what is written back from that date is a full time to the second of a day that nobody sent.
# Standard: HL7 v2.5.1, chapter 2A, 2.A.22 (DTM) and 2.A.77 (TS): YYYY[MM[DD...]], the number of digits is the precision;
# 2026 names a year, and no day of 2025 lies in it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>partial-date</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>ca.uhn.hapi</groupId><artifactId>hapi-structures-v251</artifactId><version>2.6.0</version></dependency>
  </dependencies>
</project>
XML
mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib > mvn.log 2>&1 || { cat mvn.log >&2; exit 2; }

cat > Born.java <<'JAVA'
import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.model.v251.datatype.DTM;
import ca.uhn.hl7v2.model.v251.message.ORU_R01;
import java.text.SimpleDateFormat;

public class Born {
  public static void main(String[] arguments) throws Exception {
    for (String birth : new String[] {"20260314", "202603", "202601", "2026"}) {
      ORU_R01 message = (ORU_R01) new DefaultHapiContext().getPipeParser().parse(
          "MSH|^~\\&|LAB|SITE|LIS|SITE|20261130101500||ORU^R01^ORU_R01|1|P|2.5.1\r"
          + "PID|1||4711^^^LAB||Kulkarni^Anaya||" + birth + "|F\r"
          + "OBR|1|5||GLU^Glucose\r");
      DTM field = message.getPATIENT_RESULT().getPATIENT().getPID().getDateTimeOfBirth().getTime();
      DTM written = new DTM(message);
      written.setValue(field.getValueAsDate());
      System.out.printf("%s is read as %s and written back as %s%n", birth,
          new SimpleDateFormat("yyyy-MM-dd").format(field.getValueAsDate()), written.getValue().substring(0, 14));
    }
  }
}
JAVA
javac -cp 'lib/*' Born.java
seen=$(TZ=UTC java -cp 'lib/*:.' Born 2> java.log) || { cat java.log >&2; exit 2; }
echo "$seen"
expected='20260314 is read as 2026-03-14 and written back as 20260314000000
202603 is read as 2026-02-28 and written back as 20260228000000
202601 is read as 2025-12-31 and written back as 20251231000000
2026 is read as 2025-11-30 and written back as 20251130000000'
[ "$seen" = "$expected" ] || { echo "the behaviour has changed" >&2; exit 1; }
