package cellgrpc

import (
	"encoding/json"
	"fmt"
	"reflect"

	"google.golang.org/grpc"
)

// retryThrottling is the retry budget of a connection whose service config has none: a retry for ten calls that succeed.
const retryThrottling = `{"maxTokens":100,"tokenRatio":0.1}`

// serviceConfig returns the service config of the options, with our policy and retry budget where it names none. Without
// that gRPC would use pick_first for everybody who only wants his calls retried.
func serviceConfig(opts []grpc.DialOption) (grpc.DialOption, error) {
	given, err := givenConfig(opts)
	if err != nil {
		return nil, err
	}
	config := map[string]json.RawMessage{}
	if given != "" {
		if err := json.Unmarshal([]byte(given), &config); err != nil {
			return nil, fmt.Errorf("service config: %w", err)
		}
	}
	if config["loadBalancingConfig"] == nil && config["loadBalancingPolicy"] == nil {
		config["loadBalancingConfig"] = json.RawMessage(`[{"` + Policy + `":{}}]`)
	}
	if config["retryThrottling"] == nil {
		config["retryThrottling"] = json.RawMessage(retryThrottling)
	}
	merged, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("service config: %w", err)
	}
	return grpc.WithDefaultServiceConfig(string(merged)), nil
}

// givenConfig returns the default service config that the options set. gRPC does not tell, so it is read from a connection
// that is made with them and never used. Where a later gRPC keeps it elsewhere, the options are used as they are.
func givenConfig(opts []grpc.DialOption) (string, error) {
	cc, err := grpc.NewClient("passthrough:///", opts...)
	if err != nil {
		return "", err
	}
	defer cc.Close() // it has not connected
	field := reflect.ValueOf(cc).Elem().FieldByName("dopts")
	if field.Kind() == reflect.Struct {
		field = field.FieldByName("defaultServiceConfigRawJSON")
	}
	if field.Kind() != reflect.Pointer || field.IsNil() || field.Elem().Kind() != reflect.String {
		return "", nil
	}
	return field.Elem().String(), nil
}
