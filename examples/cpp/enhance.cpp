// Enhance a sound file of one channel with a waveform file or a stream file:
//
//     enhance MODEL NOISY.wav CLEAN.wav
//
// All that the program must know about the model is in the model's metadata (docs/format.md).
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sndfile.hh>
#include <stdexcept>
#include <string>
#include <vector>

using Json = nlohmann::json;
using Samples = std::vector<float>;

Json read_spec(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  auto text = session.GetModelMetadata().LookupCustomMetadataMapAllocated("fsnp_onnx", allocator);
  if (!text) throw std::runtime_error("the model has no metadata of fsnp-onnx");
  auto spec = Json::parse(text.get());
  if (spec.at("format") != 2) throw std::runtime_error("the model has another format than 2");
  return spec;
}

Ort::Value as_tensor(float* values, size_t size) {  // one row; the values stay where they are
  static const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::array<int64_t, 2> shape{1, static_cast<int64_t>(size)};
  return Ort::Value::CreateTensor<float>(memory, values, size, shape.data(), shape.size());
}

Samples enhance_whole(Ort::Session& session, Samples noisy) {
  const char *input = "noisy", *output = "enhanced";
  auto tensor = as_tensor(noisy.data(), noisy.size());
  const auto enhanced = session.Run({}, &input, &tensor, 1, &output, 1);
  const float* first = enhanced[0].GetTensorData<float>();
  return {first, first + noisy.size()};
}

Samples enhance_live(Ort::Session& session, const Json& spec, Samples noisy) {
  const size_t hop = spec["stft"]["hop_length"], late = spec["latency_samples"];
  const size_t n_samples = noisy.size(), size = spec["state"]["size"];
  const std::string state_in = spec["state"]["input"], state_out = spec["state"]["output"];
  const std::array<const char*, 2> inputs{"noisy", state_in.c_str()};
  const std::array<const char*, 2> outputs{"enhanced", state_out.c_str()};
  noisy.resize((n_samples + late + hop - 1) / hop * hop);  // silence brings out the last samples
  Samples zeros(size), enhanced;
  auto state = as_tensor(zeros.data(), size);
  for (size_t start = 0; start < noisy.size(); start += hop) {  // one hop per call, as live
    std::array<Ort::Value, 2> given{as_tensor(&noisy[start], hop), std::move(state)};
    auto taken = session.Run({}, inputs.data(), given.data(), 2, outputs.data(), 2);
    const float* first = taken[0].GetTensorData<float>();
    enhanced.insert(enhanced.end(), first, first + hop);
    state = std::move(taken[1]);
  }
  return {enhanced.begin() + late, enhanced.begin() + late + n_samples};
}

void enhance(const char* model, const char* noisy_path, const char* clean_path) {
  Ort::Env environment{ORT_LOGGING_LEVEL_WARNING, "enhance"};
  Ort::Session session{environment, model, Ort::SessionOptions{}};
  const auto spec = read_spec(session);
  const int rate = spec["stft"]["sample_rate_hz"];

  SndfileHandle source{noisy_path};
  if (source.error()) throw std::runtime_error(std::string{noisy_path} + ": " + source.strError());
  if (source.channels() != 1 || source.samplerate() != rate || source.frames() < 1)
    throw std::runtime_error(std::string{noisy_path} + " has " + std::to_string(source.channels()) +
                             " channels at " + std::to_string(source.samplerate()) + " Hz; convert it to one at " +
                             std::to_string(rate) + " Hz, with at least one sample");
  Samples noisy(source.frames());
  noisy.resize(source.read(noisy.data(), source.frames()));
  if (!std::all_of(noisy.begin(), noisy.end(), [](float x) { return std::isfinite(x); }))
    throw std::runtime_error(std::string{noisy_path} + " contains NaN or infinity");

  const std::string interface = spec["interface"];
  if (interface != "waveform" && interface != "stream")
    throw std::runtime_error("the model's interface is " + interface + "; take a waveform or a stream file");
  const auto enhanced = interface == "stream" ? enhance_live(session, spec, noisy) : enhance_whole(session, noisy);

  SndfileHandle target{clean_path, SFM_WRITE, source.format(), 1, rate};  // 16 bits stay 16 bits
  if (!target.error()) target.command(SFC_SET_CLIPPING, nullptr, SF_TRUE);  // else the reason would be lost
  if (target.error() || target.write(enhanced.data(), enhanced.size()) != sf_count_t(enhanced.size()))
    throw std::runtime_error(std::string{clean_path} + ": " + target.strError());
}

int main(int count, char** arguments) {
  if (count != 4) return std::cerr << "usage: enhance MODEL NOISY.wav CLEAN.wav\n", 2;
  try {
    enhance(arguments[1], arguments[2], arguments[3]);
  } catch (const std::exception& error) {
    return std::cerr << "error: " << error.what() << "\n", 1;
  }
}
