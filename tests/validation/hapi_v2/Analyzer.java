// An analyzer of IHE LAW by HAPI's HL7 v2 library: it asks for the work of a tube, and says yes to each work step.
//
//   java -cp CLASSPATH Analyzer.java PORT CONTAINER
//
// It writes QBP_Q11 and ORL_O34, and reads RSP_K11 and OML_O33, strictly by the structures of v2.5.1. What it reads goes to
// stdout, one line for each work step: SAC-3, ORC-1, OBR-2, OBR-4; or, without work, SAC-3 and ORC-1.

import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.model.AbstractGroup;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.model.Structure;
import ca.uhn.hl7v2.model.v251.group.OML_O33_ORDER;
import ca.uhn.hl7v2.model.v251.group.OML_O33_SPECIMEN;
import ca.uhn.hl7v2.model.v251.group.ORL_O34_ORDER;
import ca.uhn.hl7v2.model.v251.group.ORL_O34_SPECIMEN;
import ca.uhn.hl7v2.model.v251.message.OML_O33;
import ca.uhn.hl7v2.model.v251.message.ORL_O34;
import ca.uhn.hl7v2.model.v251.message.QBP_Q11;
import ca.uhn.hl7v2.model.v251.message.RSP_K11;
import ca.uhn.hl7v2.model.v251.segment.MSH;
import ca.uhn.hl7v2.parser.PipeParser;
import ca.uhn.hl7v2.util.Terser;
import ca.uhn.hl7v2.validation.impl.ValidationContextFactory;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

public class Analyzer {
    private static PipeParser parser;

    public static void main(String[] arguments) throws Exception {
        var context = new DefaultHapiContext();
        context.setValidationContext(ValidationContextFactory.defaultValidation());
        context.getParserConfiguration().setAllowUnknownVersions(false);
        // The second ORC of a specimen could begin a PRIOR_RESULT as well, which LAW does not have.
        context.getParserConfiguration().setNonGreedyMode(true);
        parser = context.getPipeParser();
        try (var socket = new Socket("127.0.0.1", Integer.parseInt(arguments[0]))) {
            socket.setSoTimeout(60_000);
            send(socket, question(arguments[1]));
            var response = read(socket, RSP_K11.class);
            expect("AA", response.getMSA().getAcknowledgmentCode().getValue());
            expect("Q-1", response.getMSA().getMessageControlID().getValue());
            expect("OK", response.getQAK().getQueryResponseStatus().getValue());
            expect("WOS", response.getQPD().getMessageQueryName().getIdentifier().getValue());
            send(socket, answer(read(socket, OML_O33.class)));
        }
    }

    private static Message question(String container) throws Exception {
        var question = new QBP_Q11();
        question.initQuickstart("QBP", "Q11", "P");
        head(question.getMSH(), "Q-1", "LAB-27");
        question.getMSH().getMessageType().getMessageStructure().setValue("QBP_Q11");
        var terser = new Terser(question);
        terser.set("/QPD-1-1", "WOS");
        terser.set("/QPD-1-2", "Work Order Step");
        terser.set("/QPD-1-3", "IHE_LABTF");
        terser.set("/QPD-2", "T-1");
        terser.set("/QPD-3", container);
        terser.set("/RCP-1", "I");
        terser.set("/RCP-3-1", "R");
        return question;
    }

    private static Message answer(OML_O33 order) throws Exception {
        var answer = new ORL_O34();
        answer.initQuickstart("ORL", "O34", "P");
        head(answer.getMSH(), "A-1", "LAB-28");
        answer.getMSA().getAcknowledgmentCode().setValue("AA");
        answer.getMSA().getMessageControlID().setValue(order.getMSH().getMessageControlID().getValue());
        for (OML_O33_SPECIMEN specimen : order.getSPECIMENAll()) {
            var tube = specimen.getSAC(0).getContainerIdentifier().getEntityIdentifier().getValue();
            ORL_O34_SPECIMEN said = null;
            for (OML_O33_ORDER one : specimen.getORDERAll()) {
                var what = one.getORC().getOrderControl().getValue();
                if (what.equals("DC")) {
                    System.out.println(tube + "\t" + what);
                    continue;
                }
                var asked = one.getOBSERVATION_REQUEST().getOBR();
                var step = asked.getPlacerOrderNumber().getEntityIdentifier().getValue();
                System.out.println(String.join("\t", tube, what, step, asked.getUniversalServiceIdentifier().encode()));
                if (said == null) {
                    said = answer.getRESPONSE().getPATIENT().getSPECIMEN(0);
                    said.getSPM().getSetIDSPM().setValue("1");
                    said.getSPM().getSpecimenType().getIdentifier().setValue("SER");
                    said.getSAC(0).getContainerIdentifier().getEntityIdentifier().setValue(tube);
                }
                ORL_O34_ORDER reply = said.getORDER(said.getORDERReps());
                reply.getORC().getOrderControl().setValue("OK");
                reply.getORC().getPlacerOrderNumber().getEntityIdentifier().setValue(step);
                reply.getORC().getOrderStatus().setValue("SC");
            }
        }
        return answer;
    }

    private static void head(MSH head, String number, String profile) throws Exception {
        head.getMessageControlID().setValue(number);
        head.getSendingApplication().getNamespaceID().setValue("HAPI");
        head.getReceivingApplication().getNamespaceID().setValue("Host");
        head.getCharacterSet(0).setValue("UNICODE UTF-8");
        head.getMessageProfileIdentifier(0).getEntityIdentifier().setValue(profile);
        head.getMessageProfileIdentifier(0).getNamespaceID().setValue("IHE");
    }

    private static void send(Socket socket, Message message) throws Exception {
        var out = new ByteArrayOutputStream();
        out.write(0x0B);
        out.write(parser.encode(message).getBytes(StandardCharsets.UTF_8));
        out.write(0x1C);
        out.write(0x0D);
        socket.getOutputStream().write(out.toByteArray());
    }

    private static <T extends Message> T read(Socket socket, Class<T> structure) throws Exception {
        InputStream in = socket.getInputStream();
        var block = new ByteArrayOutputStream();
        expect("11", String.valueOf(in.read()));
        for (int one = in.read(); one != 0x1C; one = in.read()) {
            if (one < 0) {
                throw new IllegalStateException("the host has closed the connection");
            }
            block.write(one);
        }
        expect("13", String.valueOf(in.read()));
        Message message = parser.parse(block.toString(StandardCharsets.UTF_8));
        noneUnknown((AbstractGroup) message);
        return structure.cast(message);
    }

    // A segment that its structure does not have there is kept by HAPI under a name of its own.
    private static void noneUnknown(AbstractGroup group) throws Exception {
        if (group.getNonStandardNames() != null && !group.getNonStandardNames().isEmpty()) {
            throw new IllegalStateException(group.getName() + " has " + group.getNonStandardNames());
        }
        for (String name : group.getNames()) {
            for (Structure part : group.getAll(name)) {
                if (part instanceof AbstractGroup inner) {
                    noneUnknown(inner);
                }
            }
        }
    }

    private static void expect(String wanted, String found) {
        if (!wanted.equals(found)) {
            throw new IllegalStateException("wanted " + wanted + ", found " + found);
        }
    }
}
