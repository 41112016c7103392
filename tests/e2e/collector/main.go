// Command otelcol is an OpenTelemetry Collector for tests: its own receiver of OTLP, and an exporter that appends each
// batch of spans to a file, one JSON document a line.
//
// Beside that file, NAME.refuse makes it refuse: the number of a gRPC status, and the seconds of a retry delay.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

type file struct {
	Path string `mapstructure:"path"`
	lock sync.Mutex
}

func (to *file) write(_ context.Context, traces ptrace.Traces) error {
	if err := to.refusal(); err != nil {
		return err
	}
	line, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
	if err != nil {
		return err
	}
	to.lock.Lock()
	defer to.lock.Unlock()
	out, err := os.OpenFile(to.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(append(line, '\n'))
	return errors.Join(err, out.Close())
}

func (to *file) refusal() error {
	said, err := os.ReadFile(to.Path + ".refuse")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var code codes.Code
	var seconds int
	if _, bad := fmt.Sscan(string(said), (*uint32)(&code), &seconds); bad != nil {
		return errors.Join(err, bad)
	}
	answer := status.New(code, "as the test wants it")
	if seconds > 0 {
		delay := durationpb.New(time.Duration(seconds) * time.Second)
		if answer, err = answer.WithDetails(&errdetails.RetryInfo{RetryDelay: delay}); err != nil {
			return err
		}
	}
	return answer.Err()
}

func jsonLines() exporter.Factory {
	type traces struct {
		component.StartFunc
		component.ShutdownFunc
		consumer.Traces
	}
	build := func(_ context.Context, _ exporter.Settings, config component.Config) (exporter.Traces, error) {
		into, err := consumer.NewTraces(config.(*file).write)
		return traces{Traces: into}, err
	}
	return exporter.NewFactory(component.MustNewType("jsonlines"),
		func() component.Config { return &file{} },
		exporter.WithTraces(build, component.StabilityLevelStable))
}

// Telemetry of its own: the log alone, on stderr.
func logged() telemetry.Factory {
	build := func(context.Context, telemetry.LoggerSettings, component.Config) (*zap.Logger, component.ShutdownFunc, error) {
		logger, err := zap.NewProduction()
		return logger, nil, err
	}
	return telemetry.NewFactory(func() component.Config { return &struct{}{} }, telemetry.WithCreateLogger(build))
}

func components() (otelcol.Factories, error) {
	receivers, err := otelcol.MakeFactoryMap[receiver.Factory](otlpreceiver.NewFactory())
	if err != nil {
		return otelcol.Factories{}, err
	}
	exporters, err := otelcol.MakeFactoryMap[exporter.Factory](jsonLines())
	return otelcol.Factories{Receivers: receivers, Exporters: exporters, Telemetry: logged()}, err
}

func main() {
	resolver := confmap.ResolverSettings{
		ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()},
		DefaultScheme:     "file",
	}
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo:              component.BuildInfo{Command: "otelcol", Description: "OTLP to a file", Version: "0.165.0"},
		Factories:              components,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: resolver},
	})
	if err := command.Execute(); err != nil {
		log.Fatal(err)
	}
}
