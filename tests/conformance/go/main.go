// Lists packages, deploys one and infers, with nothing but the stubs that protoc makes from protos/.
// Run by test_go.py; prints what it found as one line of JSON.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"nnpm.test/conformance/api/inference"
	registry "nnpm.test/conformance/api/nnpm/api/registry/v1"
	scheduler "nnpm.test/conformance/api/nnpm/api/scheduler/v1"
)

type findings struct {
	Packages     []string  `json:"packages"`
	Deployment   string    `json:"deployment"`
	ModelVersion string    `json:"model_version"`
	Shape        []int64   `json:"shape"`
	Output       []float32 `json:"output"`
}

func main() {
	registryAddress := flag.String("registry", "", "host:port of the registry")
	controlAddress := flag.String("control", "", "host:port of the scheduler's control side")
	dataAddress := flag.String("scheduler", "", "host:port of the scheduler's data side")
	name := flag.String("package", "", "the package to deploy")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()

	var found findings
	found.Packages = listPackages(ctx, registry.NewRegistryServiceClient(dial(*registryAddress)))
	found.Deployment = deploy(ctx, scheduler.NewDeploymentServiceClient(dial(*controlAddress)), *name)
	infer(ctx, inference.NewGRPCInferenceServiceClient(dial(*dataAddress)), found.Deployment, &found)
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func dial(address string) *grpc.ClientConn {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatalf("dial %s: %v", address, err)
	}
	return connection
}

// listPackages reads page after page, two packages each.
func listPackages(ctx context.Context, client registry.RegistryServiceClient) []string {
	var names []string
	request := &registry.ListPackagesRequest{PageSize: 2}
	for {
		page, err := client.ListPackages(ctx, request)
		if err != nil {
			log.Fatalf("ListPackages: %v", err)
		}
		for _, entry := range page.Packages {
			names = append(names, entry.Name)
		}
		if page.NextPageToken == "" {
			return names
		}
		request.PageToken = page.NextPageToken
	}
}

// deploy creates a deployment and follows it until it serves.
func deploy(ctx context.Context, client scheduler.DeploymentServiceClient, name string) string {
	created, err := client.CreateDeployment(ctx, &scheduler.CreateDeploymentRequest{
		Deployment: &scheduler.Deployment{Spec: &scheduler.DeploymentSpec{
			Source: &scheduler.DeploymentSpec_Package{Package: &scheduler.PackageSource{Package: name, Selector: "^1.0"}},
		}},
		RequestId: fmt.Sprintf("go-%d", time.Now().UnixNano()),
	})
	if err != nil {
		log.Fatalf("CreateDeployment: %v", err)
	}
	watch, err := client.WatchDeployment(ctx, &scheduler.WatchDeploymentRequest{Name: created.Deployment.Name})
	if err != nil {
		log.Fatalf("WatchDeployment: %v", err)
	}
	for {
		change, err := watch.Recv()
		if err != nil {
			log.Fatalf("WatchDeployment: %v", err)
		}
		switch status := change.Deployment.Status; status.State {
		case scheduler.DeploymentState_DEPLOYMENT_STATE_READY:
			return change.Deployment.Name
		case scheduler.DeploymentState_DEPLOYMENT_STATE_FAILED:
			log.Fatalf("deployment failed: %s", status.Message)
		}
	}
}

// infer sends x = [[1, 2, 3, 4], [-1, 0, 1, 0.5]].
func infer(ctx context.Context, client inference.GRPCInferenceServiceClient, model string, found *findings) {
	var raw []byte
	for _, value := range []float32{1, 2, 3, 4, -1, 0, 1, 0.5} {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(value))
	}
	answer, err := client.ModelInfer(ctx, &inference.ModelInferRequest{
		ModelName:        model,
		Inputs:           []*inference.ModelInferRequest_InferInputTensor{{Name: "x", Datatype: "FP32", Shape: []int64{2, 4}}},
		RawInputContents: [][]byte{raw},
	})
	if err != nil {
		log.Fatalf("ModelInfer: %v", err)
	}
	found.ModelVersion = answer.ModelVersion
	found.Shape = answer.Outputs[0].Shape
	for data := answer.RawOutputContents[0]; len(data) > 0; data = data[4:] {
		found.Output = append(found.Output, math.Float32frombits(binary.LittleEndian.Uint32(data)))
	}
}
