#pragma once

#include <vector>

#include "../work.h"

namespace bifocal::http::wire {

// The routes of each wire format; one file a format.
std::vector<Route> bifocal_routes();  // our own: /v1/fused/embeddings, /v1/match, /v1/classify, ...
std::vector<Route> search_routes();   // /v1/search
std::vector<Route> openai_routes();   // /v1/embeddings, with Jina's elements and vLLM's messages
std::vector<Route> cohere_routes();   // /v2/embed
std::vector<Route> voyage_routes();   // /v1/multimodalembeddings
std::vector<Route> tei_routes();      // /embed, /embed_all, /similarity, /rerank, /predict, ...
std::vector<Route> open_inference_routes();  // /v2, /v2/models/...

}  // namespace bifocal::http::wire
