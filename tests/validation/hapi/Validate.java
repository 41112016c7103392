// Judges Bundles by HAPI FHIR's validator, which is HL7's own, against the definitions of FHIR R4.
//
//   java -cp CLASSPATH Validate.java [FOLDER] < bundles.ndjson > issues.ndjson
//
// FOLDER has profiles (StructureDefinition-*.json): those of resources that name them are checked, too.
// A line of input is a Bundle; the line of output in its place is the list of its issues, as {severity, code, path,
// text}. Without a terminology server: codes of code systems that FHIR publishes, UCUM units, languages and the like are
// looked up in memory; LOINC and SNOMED CT are not, and are left unjudged.

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.StringJoiner;
import java.util.regex.Pattern;
import org.hl7.fhir.common.hapi.validation.support.CachingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;

public class Validate {
    private static final Pattern CONSTRAINT = Pattern.compile("Constraint failed: ([a-z]+-[0-9a-z]+)");

    public static void main(String[] arguments) throws Exception {
        FhirContext context = FhirContext.forR4();
        var unknown = new UnknownCodeSystemWarningValidationSupport(context);
        unknown.setNonExistentCodeSystemSeverity(ca.uhn.fhir.context.support.IValidationSupport.IssueSeverity.INFORMATION);
        var profiles = new PrePopulatedValidationSupport(context);
        if (arguments.length > 0) {
            try (var files = Files.newDirectoryStream(Path.of(arguments[0]), "StructureDefinition-*.json")) {
                for (Path file : files) {
                    profiles.addStructureDefinition(context.newJsonParser().parseResource(Files.readString(file)));
                }
            }
        }
        var support = new CachingValidationSupport(new ValidationSupportChain(
            new DefaultProfileValidationSupport(context),
            profiles,
            new CommonCodeSystemsTerminologyService(context),
            new InMemoryTerminologyServerValidationSupport(context),
            new SnapshotGeneratingValidationSupport(context),
            unknown));
        var module = new FhirInstanceValidator(support);
        module.setAnyExtensionsAllowed(true);
        module.setErrorForUnknownProfiles(arguments.length > 0);
        FhirValidator validator = context.newValidator().registerValidatorModule(module);
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var output = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            var issues = new StringJoiner(",", "[", "]");
            for (SingleValidationMessage message : validator.validateWithResult(line).getMessages()) {
                if (message.getSeverity() != ResultSeverityEnum.INFORMATION) {
                    issues.add(issue(message));
                }
            }
            output.println(issues);
        }
        output.flush();
    }

    private static String issue(SingleValidationMessage message) {
        String severity = message.getSeverity() == ResultSeverityEnum.WARNING ? "warning" : "error";
        return "{\"severity\":\"" + severity + "\",\"code\":" + text(code(message))
            + ",\"path\":" + text(message.getLocationString().replaceAll("/\\*[^*]*\\*/", ""))
            + ",\"text\":" + text(message.getMessage()) + "}";
    }

    private static String code(SingleValidationMessage message) {
        String id = message.getMessageId();
        if (id != null && !id.isEmpty()) {
            return id.substring(id.lastIndexOf('#') + 1);
        }
        var constraint = CONSTRAINT.matcher(message.getMessage());
        return constraint.lookingAt() ? constraint.group(1) : message.getMessage().split("[.,:]")[0];
    }

    private static String text(String value) {
        var quoted = new StringBuilder("\"");
        for (char sign : (value == null ? "" : value).toCharArray()) {
            if (sign == '"' || sign == '\\') {
                quoted.append('\\').append(sign);
            } else if (sign < ' ') {
                quoted.append(String.format("\\u%04x", (int) sign));
            } else {
                quoted.append(sign);
            }
        }
        return quoted.append('"').toString();
    }
}
