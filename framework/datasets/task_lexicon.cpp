#include "framework/datasets/task_families.h"

namespace foretell::datasets::tasks {
namespace {

// What an example draws from. Enough names and towns that no passage repeats another; few enough goods and hobbies that
// a small model meets each of them thousands of times.
constexpr std::string_view kNames[] = {
    "Ada",   "Albin",  "Alma",  "Amir",   "Anton", "Astrid", "Basil",   "Bella",  "Boris", "Carla",  "Cedric", "Clara",
    "Dalia", "Dario",  "Dora",  "Edgar",  "Elena", "Emil",   "Esme",    "Fabio",  "Felix", "Fiona",  "Flora",  "Gavin",
    "Greta", "Gustav", "Hanna", "Hector", "Hilda", "Igor",   "Ines",    "Iris",   "Ivan",  "Jasper", "Jonas",  "Judith",
    "Karin", "Kasper", "Klara", "Lars",   "Leila", "Linus",  "Lotte",   "Magnus", "Marta", "Mila",   "Milo",   "Nadia",
    "Nils",  "Nora",   "Oscar", "Otto",   "Paula", "Petra",  "Quentin", "Ramon",  "Rosa",  "Ruben",  "Selma",  "Silas",
    "Sonja", "Stella", "Tara",  "Theo",   "Tilda", "Ulla",   "Viktor",  "Wanda",  "Yara",  "Zeno",
};
constexpr std::string_view kTowns[] = {
    "Alderby", "Amsel",    "Barnhill", "Birkdale", "Brackwell", "Calder",    "Corvale",  "Dunmere",
    "Eastry",  "Elmstead", "Fenwick",  "Garrow",   "Glenhope",  "Halden",    "Harwick",  "Ivybridge",
    "Jarrow",  "Kelby",    "Kirkmoor", "Langport", "Larkfield", "Maplewood", "Marlow",   "Merton",
    "Norwell", "Oakham",   "Orsett",   "Pennard",  "Quarley",   "Redhill",   "Rosedale", "Saltash",
    "Selwick", "Stanmore", "Tarbet",   "Thornby",  "Upwell",    "Varley",    "Westbury", "Yarrow",
};
constexpr std::string_view kJobs[] = {
    "baker",   "barber",  "brewer", "carpenter", "chemist",  "clerk",   "cook",    "dancer",
    "dentist", "doctor",  "driver", "farmer",    "gardener", "glazier", "hunter",  "judge",
    "lawyer",  "mason",   "miller", "miner",     "nurse",    "painter", "pilot",   "plumber",
    "potter",  "printer", "sailor", "singer",    "soldier",  "tailor",  "teacher", "weaver",
};
constexpr std::string_view kPets[] = {
    "badger", "beaver", "camel",  "cat",     "crow",   "dog",   "donkey", "duck",  "falcon", "ferret",
    "fox",    "goat",   "goose",  "hamster", "hen",    "horse", "lizard", "llama", "mouse",  "otter",
    "owl",    "parrot", "pigeon", "pony",    "rabbit", "raven", "snake",  "swan",  "toad",   "turtle",
};
constexpr std::string_view kGoods[] = {
    "apples",  "baskets", "bells",   "blankets", "books",  "boots",   "bottles", "bowls",  "brushes",
    "candles", "chairs",  "clocks",  "coats",    "cups",   "drums",   "flutes",  "gloves", "hammers",
    "hats",    "kettles", "knives",  "lamps",    "lemons", "maps",    "mirrors", "nails",  "onions",
    "pears",   "pencils", "pillows", "plates",   "ropes",  "scarves", "shirts",  "spoons", "tents",
};
constexpr std::string_view kColours[] = {"amber",  "black", "blue",   "brown", "golden", "green", "grey",
                                         "orange", "pink",  "purple", "red",   "silver", "white", "yellow"};
constexpr std::string_view kThings[] = {
    "barrel", "box", "cabinet", "cart", "chest", "crate",    "door",  "drawer", "engine", "gate",
    "hut",    "jar", "locker",  "safe", "shed",  "suitcase", "tower", "trunk",  "vault",  "wagon",
};
constexpr std::string_view kDays[] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
constexpr std::string_view kHobbies[] = {
    "archery", "baking",   "chess",    "climbing", "cycling", "drawing", "fencing",  "fishing",
    "hiking",  "juggling", "knitting", "painting", "pottery", "reading", "riding",   "rowing",
    "running", "sailing",  "singing",  "skating",  "skiing",  "surfing", "swimming", "weaving",
};
constexpr std::string_view kFoods[] = {
    "bread", "butter",  "cake",   "carrots",  "cheese", "cherries", "curry",    "dumplings",
    "honey", "noodles", "olives", "pancakes", "pasta",  "plums",    "porridge", "potatoes",
    "rice",  "salad",   "soup",   "spinach",  "stew",   "tofu",     "walnuts",  "yoghurt",
};
constexpr std::string_view kPlaces[] = {"beach",   "castle", "cave",   "desert", "forest", "glacier",
                                        "harbour", "island", "jungle", "lake",   "market", "mountain",
                                        "museum",  "river",  "swamp",  "volcano"};
constexpr std::string_view kWeather[] = {
    "The morning was cold and bright.",
    "A light wind came from the sea.",
    "It rained for most of the day.",
    "The road was long and full of holes.",
    "Nobody could remember such a quiet week.",
    "The old bridge was closed again.",
    "Clouds hung low over the hills.",
    "The bells rang at noon.",
    "Children played in the square.",
    "The inn was full of travellers.",
    "A dog barked behind the fence.",
    "Snow lay on the roofs.",
    "The river was higher than usual.",
    "Lamps were lit early that evening.",
    "The train was late as always.",
    "Somebody had painted the benches.",
    "The fields smelled of hay.",
    "Fog covered the whole valley.",
};

}  // namespace

const Lexicon& lexicon() {
  static const Lexicon words{kNames,  kTowns, kJobs,    kPets,  kGoods,  kColours,
                             kThings, kDays,  kHobbies, kFoods, kPlaces, kWeather};
  return words;
}

std::vector<std::string_view> pick_different(PhiloxRng& rng, Words words, std::size_t count) {
  std::vector<std::string_view> all(words.begin(), words.end());
  for (std::size_t i = 0; i < count; ++i) std::swap(all[i], all[i + rng.below(all.size() - i)]);
  all.resize(count);
  return all;
}

std::string with_article(std::string_view noun) {
  const bool vowel = std::string_view("aeiou").find(noun.front()) != std::string_view::npos;
  return (vowel ? "an " : "a ") + std::string(noun);
}

}  // namespace foretell::datasets::tasks
