import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.binstore.DatabaseBinaryContentStorageSvcImpl;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirPostgresDialect;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.match.deliver.email.IEmailSender;
import ca.uhn.fhir.jpa.subscription.match.config.SubscriptionProcessorConfig;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import com.sun.management.ThreadMXBean;
import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.EntityManagerFactory;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.Map;
import java.util.Properties;
import javax.sql.DataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;

/** HAPI FHIR JPA as shipped, on a database; ends when its standard input does. Prints its port. */
public class FhirServer {
    @Configuration
    @Import({
        JpaR4Config.class, HapiJpaConfig.class, ThreadPoolFactoryConfig.class, JpaBatch2Config.class,
        Batch2JobsConfig.class, SubscriptionSubmitterConfig.class, SubscriptionProcessorConfig.class,
        SubscriptionChannelConfig.class,
    })
    static class Config {
        @Bean
        public JpaStorageSettings jpaStorageSettings() {
            JpaStorageSettings settings = new JpaStorageSettings();
            settings.setAllowExternalReferences(false);
            settings.setDefaultSearchParamsCanBeOverridden(true);
            settings.setMarkResourcesForReindexingUponSearchParameterChange(false);
            return settings;
        }

        @Bean
        public PartitionSettings partitionSettings() {
            return new PartitionSettings();
        }

        @Bean
        public SubscriptionSettings subscriptionSettings() {
            return new SubscriptionSettings();
        }

        @Bean
        public DatabaseBinaryContentStorageSvcImpl binaryStorage() {
            return new DatabaseBinaryContentStorageSvcImpl();
        }

        @Bean
        public IEmailSender emailSender() {
            return details -> {};
        }

        @Bean
        public DataSource dataSource() {
            HikariDataSource source = new HikariDataSource();
            source.setJdbcUrl(System.getProperty("database"));
            source.setMaximumPoolSize(10);
            return source;
        }

        @Primary
        @Bean
        public LocalContainerEntityManagerFactoryBean entityManagerFactory(
                ConfigurableListableBeanFactory beans, FhirContext context, JpaStorageSettings settings, DataSource source) {
            LocalContainerEntityManagerFactoryBean made =
                    HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, context, settings);
            made.setPersistenceUnitName("HAPI_PU");
            made.setDataSource(source);
            Properties all = new Properties();
            all.putAll(Map.of(
                    "hibernate.dialect", HapiFhirPostgresDialect.class.getName(),
                    "hibernate.hbm2ddl.auto", "update",
                    "hibernate.jdbc.batch_size", "20",
                    "hibernate.cache.use_query_cache", "false",
                    "hibernate.cache.use_second_level_cache", "false",
                    "hibernate.cache.use_structured_entries", "false",
                    "hibernate.cache.use_minimal_puts", "false",
                    "hibernate.search.enabled", "false"));
            made.setJpaProperties(all);
            return made;
        }

        @Primary
        @Bean
        public JpaTransactionManager transactionManager(EntityManagerFactory factory) {
            return new JpaTransactionManager(factory);
        }
    }

    public static void main(String[] arguments) throws Exception {
        AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext();
        context.setAllowBeanDefinitionOverriding(true);
        context.register(Config.class);
        context.refresh();
        JpaStorageSettings settings = context.getBean(JpaStorageSettings.class);
        IFhirSystemDao<?, ?> dao = context.getBean(IFhirSystemDao.class);
        RestfulServer fhir = new RestfulServer(context.getBean(FhirContext.class));
        fhir.registerProviders(context.getBean(ResourceProviderFactory.class).createProviders());
        fhir.registerProvider(context.getBean(IJpaSystemProvider.class));
        fhir.setPagingProvider(context.getBean(DatabaseBackedPagingProvider.class));
        JpaCapabilityStatementProvider statement = new JpaCapabilityStatementProvider(
                fhir, dao, settings, context.getBean(ISearchParamRegistry.class), context.getBean(IValidationSupport.class));
        statement.setImplementationDescription("HAPI FHIR R4 Server");
        fhir.setServerConformanceProvider(statement);

        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(0);
        server.addConnector(connector);
        ServletContextHandler root = new ServletContextHandler();
        root.addServlet(new ServletHolder(fhir), "/fhir/*");
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        root.addServlet(new ServletHolder(new HttpServlet() {
            @Override
            protected void doGet(HttpServletRequest request, HttpServletResponse answer) throws IOException {
                long[] allocated = threads.getThreadAllocatedBytes(threads.getAllThreadIds());
                answer.getWriter().print(Arrays.stream(allocated).filter(bytes -> bytes > 0).sum());
            }

            @Override
            protected void doPost(HttpServletRequest request, HttpServletResponse answer) {
                settings.setResourceDbHistoryEnabled(!"no".equals(request.getParameter("history")));
                settings.setEnforceReferentialIntegrityOnWrite(!"no".equals(request.getParameter("references")));
                settings.setMatchUrlCacheEnabled("yes".equals(request.getParameter("match")));
                settings.setMassIngestionMode("yes".equals(request.getParameter("mass")));
            }
        }), "/settings");
        server.setHandler(root);
        server.start();
        System.out.println(connector.getLocalPort());
        System.out.flush();
        while (System.in.read() >= 0) {}
        System.exit(0);
    }
}
